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
  const { data: happened } = useQuery(notesQuery(state.range, state.refreshMs));
  const notes = happened?.items ?? NOTHING;
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
  const withoutGpu = devices !== undefined && !devices.some((one) => one.kind === "gpu" || one.kind === "mig");
  return (
    <>
      <Toolbar state={state} devices={devices ?? NOTHING} notes={notes} />
      {error && !metrics && <ErrorNotice error={error} />}
      {big ? (
        <PanelCard key={big.id} panel={big} {...shared} big />
      ) : (
        groupsOf(panels, withoutGpu).map(({ group, title, own, isEmpty }) => {
          // The address names what is not as usual; a group of which there is no device is usually closed.
          const isClosed = state.closed.includes(group) !== isEmpty;
          const note = isEmpty ? "no GPU reports" : plural(own.length, "panel");
          return (
            <section key={group} aria-label={title} className={css.group}>
              <GroupHead group={group} title={title} note={note} isClosed={isClosed} state={state} />
              {!isClosed && (
                <div className={css.grid}>
                  {own.map((panel) => (
                    <PanelCard key={panel.id} panel={panel} {...shared} />
                  ))}
                </div>
              )}
              {group === "process" && !isClosed && (
                <ProcessTable devices={devices ?? NOTHING} selection={state.selection} />
              )}
            </section>
          );
        })
      )}
      <NoteList notes={notes} leftOut={happened?.left_out ?? 0} state={state} />
    </>
  );
}

interface Group {
  readonly group: string;
  readonly title: string;
  readonly own: readonly PanelSpec[];
  readonly isEmpty: boolean;
}

/** Groups that cannot have anything come last. */
function groupsOf(panels: readonly PanelSpec[], withoutGpu: boolean): readonly Group[] {
  const titles = new Map(GROUPS);
  const groups = [...new Set(panels.map((panel) => panel.group))].map((group) => ({
    group,
    title: titles.get(group) ?? group,
    own: panels.filter((panel) => panel.group === group),
    isEmpty: withoutGpu && (group === "gpu" || group === "process"),
  }));
  return [...groups.filter((one) => !one.isEmpty), ...groups.filter((one) => one.isEmpty)];
}

interface GroupHeadProps {
  group: string;
  title: string;
  note: string;
  isClosed: boolean;
  state: ProfilerState;
}

function GroupHead({ group, title, note, isClosed, state }: GroupHeadProps) {
  const { closed, setClosed } = state;
  const Sign = isClosed ? ChevronRight : ChevronDown;
  return (
    <button
      type="button"
      className={css.groupHead}
      aria-expanded={!isClosed}
      onClick={() => setClosed(closed.includes(group) ? closed.filter((one) => one !== group) : [...closed, group])}
    >
      <Sign size={14} aria-hidden />
      {title}
      <span className="muted">{note}</span>
    </button>
  );
}
