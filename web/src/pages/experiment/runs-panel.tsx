import { useQuery } from "@tanstack/react-query";
import { memo, useMemo } from "react";
import type { ExperimentView } from "@/api/experiments";
import { explainEveryMs, explainQuery, type RunView } from "@/api/runs";
import { plural } from "@/lib/format";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { OpsBar } from "@/ops/ops-bar";
import { Button } from "@/ui/button";
import { Input } from "@/ui/field";
import { Empty, Panel } from "@/ui/panel";
import { DataTable } from "@/ui/table/data-table";
import css from "./experiment.module.css";
import { highlight, highlightedRow } from "./highlight";
import { changedKeys, runColumns } from "./run-columns";
import type { RunFilter } from "./use-run-filter";
import { useRunIds } from "./use-run-ids";

interface RunsPanelProps {
  experiment: ExperimentView;
  view: RunFilter;
  total: number;
}

/** The table of runs, and what can be done with those that are chosen in it. */
export const RunsPanel = memo(function RunsPanel({ experiment, view, total }: RunsPanelProps) {
  const { shown, filter, setFilter, setOnly } = view;
  const [sort, setSort] = useUrlState("sort", sortCodec);
  const ids = useMemo(() => shown.map((run) => run.id), [shown]);
  const [selected, select] = useRunIds("sel", ids);
  const keys = changedKeys(shown).join(",");
  const columns = useMemo(
    () => runColumns(keys ? keys.split(",") : [], experiment.metric.name, (run) => setOnly([run])),
    [keys, experiment.metric.name, setOnly],
  );
  const chosen = useMemo(() => {
    const ids = new Set(selected);
    return shown.filter((run) => ids.has(run.id));
  }, [shown, selected]);
  return (
    <Panel
      title="Runs"
      flush
      note={shown.length === total ? plural(total, "run") : `${shown.length} of ${plural(total, "run")}`}
      actions={
        <>
          <Button
            disabledReason={chosen.length < 2 ? "Choose two or more runs in the table first" : null}
            onClick={() => setOnly(chosen.map((run) => run.id))}
          >
            Compare
          </Button>
          <OpsBar runs={chosen} />
          <Input
            type="search"
            className={css.filter}
            aria-label="Filter runs"
            placeholder="Filter: state:running lr>1e-4"
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
        </>
      }
    >
      <DataTable
        label="Runs"
        rows={shown}
        columns={columns}
        rowId={(run) => run.id}
        sort={sort}
        onSort={setSort}
        pinned={PINNED}
        selected={selected}
        onSelect={select}
        onHover={highlight}
        highlighted={highlightedRow}
        maxHeight={480}
        empty={<Empty title={view.nothing} />}
      />
      {chosen.length === 1 && chosen[0] && <Why run={chosen[0]} />}
    </Panel>
  );
});

const PINNED = ["select", "id"];

/** Why the chosen run is where it is, in the host's words. */
function Why({ run }: { run: RunView }) {
  const { data } = useQuery({ ...explainQuery(run.id), refetchInterval: explainEveryMs(run) });
  return (
    <p className={css.why}>
      <strong>{run.id}</strong> {data?.text ?? "…"}
    </p>
  );
}
