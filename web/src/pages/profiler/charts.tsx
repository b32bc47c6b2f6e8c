/** All panels by their groups, or the one that fills the page. */
import { useQuery } from "@tanstack/react-query";
import { ChevronDown, ChevronRight } from "lucide-react";
import { useEffect, useMemo } from "react";
import { devicesQuery } from "@/api/profiler";
import { metricsQuery, notesQuery } from "@/api/profiler-query";
import { plural } from "@/lib/format";
import { ErrorNotice } from "@/ui/notice";
import { NoteList } from "./note-list";
import { PanelCard } from "./panel-card";
import { ProcessTable } from "./process-table";
import { GROUPS, type PanelSpec, panelsOf } from "./panels";
import css from "./profiler.module.css";
import { Toolbar } from "./toolbar";
import type { ProfilerState } from "./use-state";

const NOTHING: readonly never[] = [];

export function Charts({ state }: { state: ProfilerState }) {
  const { data: metrics, error } = useQuery(metricsQuery);
  const { data: devices } = useQuery(devicesQuery);
  const { data: notes = NOTHING } = useQuery(notesQuery(state.range, state.refreshMs));
  const panels = useMemo(() => panelsOf(metrics ?? []), [metrics]);
  const { panel: bigId, setPanel } = state;
  const big = panels.find((panel) => panel.id === bigId);
  useEffect(() => {
    if (!big) return undefined;
    const leave = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.defaultPrevented) setPanel("");
    };
    window.addEventListener("keydown", leave);
    return () => window.removeEventListener("keydown", leave);
  }, [big, setPanel]);
  const shared = { state, devices, notes };
  return (
    <>
      <Toolbar state={state} devices={devices ?? NOTHING} />
      {error && <ErrorNotice error={error} />}
      {big ? (
        <PanelCard key={big.id} panel={big} {...shared} big />
      ) : (
        groupsOf(panels).map(([group, title, own]) => (
          <section key={group} aria-label={title} className={css.group}>
            <GroupHead group={group} title={title} count={own.length} state={state} />
            {!state.closed.includes(group) && (
              <div className={css.grid}>
                {own.map((panel) => (
                  <PanelCard key={panel.id} panel={panel} {...shared} />
                ))}
              </div>
            )}
            {group === "process" && !state.closed.includes(group) && (
              <ProcessTable devices={devices ?? NOTHING} selection={state.selection} />
            )}
          </section>
        ))
      )}
      <NoteList notes={notes} state={state} />
    </>
  );
}

function groupsOf(panels: readonly PanelSpec[]): (readonly [string, string, readonly PanelSpec[]])[] {
  const names = [...new Set(panels.map((panel) => panel.group))];
  const titles = new Map(GROUPS);
  return names.map((group) => [group, titles.get(group) ?? group, panels.filter((panel) => panel.group === group)]);
}

interface GroupHeadProps {
  group: string;
  title: string;
  count: number;
  state: ProfilerState;
}

function GroupHead({ group, title, count, state }: GroupHeadProps) {
  const { closed, setClosed } = state;
  const isClosed = closed.includes(group);
  const Sign = isClosed ? ChevronRight : ChevronDown;
  return (
    <button
      type="button"
      className={css.groupHead}
      aria-expanded={!isClosed}
      onClick={() => setClosed(isClosed ? closed.filter((one) => one !== group) : [...closed, group])}
    >
      <Sign size={14} aria-hidden />
      {title}
      <span className="muted">{plural(count, "panel")}</span>
    </button>
  );
}
