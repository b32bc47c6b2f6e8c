/** Columns of the table of runs: fixed ones, one for each key that differs, the newest metrics. */
import { createColumnHelper } from "@tanstack/react-table";
import { Crosshair } from "lucide-react";
import { Link } from "react-router";
import type { RunView } from "@/api/runs";
import { formatDuration, formatMetric, formatSetting, NONE } from "@/lib/format";
import { runColorCss } from "@/lib/run-color";
import { openOp } from "@/ops/ops-strip";
import { useOps } from "@/ops/store";
import { Button } from "@/ui/button";
import { Progress, RunSwatch, StateBadge } from "@/ui/state";
import type { Column } from "@/ui/table/data-table";
import { selectColumn } from "@/ui/table/select-column";
import css from "./experiment.module.css";

const KEYS_MAX = 12;
const column = createColumnHelper<RunView>();

/** Keys that the search or a clone set for some run, in order of their appearance. */
export function changedKeys(runs: readonly RunView[]): string[] {
  const keys = new Set<string>();
  for (const run of runs) for (const key of Object.keys(run.changes)) keys.add(key);
  return [...keys].slice(0, KEYS_MAX);
}

/** Text that is a number sorts as one. */
export function sortable(text: string | undefined): number | string | undefined {
  if (text === undefined || text === "") return undefined;
  const value = Number(text);
  return Number.isNaN(value) ? text : value;
}

export function runColumns(
  keys: readonly string[],
  metric: string,
  isolate: (run: string) => void,
): readonly Column<RunView>[] {
  return [
    selectColumn<RunView>((run) => run.id),
    column.accessor((run) => Number(run.id.slice(1)), {
      id: "id",
      header: "Run",
      size: 116,
      cell: ({ row: { original: run } }) => <Name run={run} isolate={isolate} />,
    }),
    column.accessor("state", { header: "State", size: 170, cell: ({ row: { original: run } }) => <State run={run} /> }),
    column.accessor((run) => run.current_step / Math.max(run.total_steps, 1), {
      id: "progress",
      header: "Step",
      size: 170,
      cell: ({ row: { original: run } }) => (
        <span className={css.progress}>
          <Progress
            share={run.current_step / Math.max(run.total_steps, 1)}
            label={`Progress of ${run.id}`}
            color={runColorCss(run.id)}
          />
          <span className="muted">{`${run.current_step.toLocaleString("en")} / ${run.total_steps.toLocaleString("en")}`}</span>
        </span>
      ),
    }),
    column.accessor((run) => run.best?.value, {
      id: "best",
      header: `Best ${metric}`,
      size: 120,
      meta: { align: "right" },
      sortUndefined: "last",
      cell: (cell) => formatMetric(cell.getValue()),
    }),
    ...keys.map((key) =>
      column.accessor((run) => sortable(run.changes[key]), {
        id: `key:${key}`,
        header: key,
        size: Math.min(180, 56 + key.length * 6),
        meta: { align: "right", hint: key },
        sortUndefined: "last",
        cell: ({ row }) => {
          const text = row.original.changes[key];
          return text === undefined ? <span className="muted">{NONE}</span> : formatSetting(text);
        },
      }),
    ),
    column.accessor((run) => run.metrics.loss, {
      id: "loss",
      header: "Loss",
      size: 80,
      meta: { align: "right" },
      sortUndefined: "last",
      cell: (cell) => formatMetric(cell.getValue()),
    }),
    column.accessor((run) => run.slot ?? undefined, {
      id: "slot",
      header: "Slot",
      size: 90,
      sortUndefined: "last",
      cell: (cell) => cell.getValue() ?? <span className="muted">{NONE}</span>,
    }),
    column.accessor((run) => run.eta_s ?? undefined, {
      id: "eta",
      header: "Left",
      size: 90,
      meta: { align: "right", hint: "Training time that is left on one slot" },
      sortUndefined: "last",
      cell: (cell) => formatDuration(cell.getValue()),
    }),
    column.accessor("name", { header: "Name", size: 150 }),
    column.accessor((run) => run.parent ?? undefined, {
      id: "parent",
      header: "Parent",
      size: 110,
      sortUndefined: "last",
      cell: ({ row: { original: run } }) =>
        run.parent ? `${run.parent}${run.start ? ` @ ${run.start.step}` : ""}` : NONE,
    }),
  ];
}

function Name({ run, isolate }: { run: RunView; isolate(run: string): void }) {
  return (
    <span className={css.name}>
      <RunSwatch run={run.id} />
      <Link to={`/runs/${run.id}`}>{run.id}</Link>
      <Button
        kind="ghost"
        className={css.isolate}
        label={`Show only ${run.id} in charts`}
        onClick={() => isolate(run.id)}
      >
        <Crosshair size={13} aria-hidden />
      </Button>
    </span>
  );
}

/** The run's state, and the operation that is not effective yet. */
function State({ run }: { run: RunView }) {
  const open = openOp(useOps(), run.id);
  return (
    <span className={css.state}>
      <StateBadge state={run.state} />
      {open && <span className="muted">{`${open.op} ${open.phase}`}</span>}
    </span>
  );
}
