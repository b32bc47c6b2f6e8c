import { createColumnHelper } from "@tanstack/react-table";
import { Link } from "react-router";
import type { ExperimentView } from "@/api/experiments";
import { formatDuration, formatMetric, formatTime, NONE } from "@/lib/format";
import { Progress } from "@/ui/state";
import type { Column } from "@/ui/table/data-table";
import { ExperimentBadge } from "@/pages/experiment/experiment-badge";
import { standOf } from "@/pages/experiment/experiment-state";
import css from "./experiments.module.css";

const column = createColumnHelper<ExperimentView>();

export const COLUMNS: readonly Column<ExperimentView>[] = [
  column.accessor("name", {
    header: "Name",
    size: 176,
    cell: ({ row }) => <Link to={`/experiments/${row.original.id}`}>{row.original.name}</Link>,
  }),
  column.accessor((one) => standOf(one).text, {
    id: "state",
    header: "State",
    size: 100,
    cell: ({ row }) => <ExperimentBadge experiment={row.original} />,
  }),
  column.accessor("runs", { header: "Runs", size: 60, meta: { align: "right" } }),
  column.accessor((one) => (one.steps_total > 0 ? one.steps_done / one.steps_total : 0), {
    id: "progress",
    header: "Progress",
    size: 170,
    meta: { grow: true },
    cell: ({ row: { original: one } }) => (
      <span className={css.progress}>
        <Progress share={one.steps_done / Math.max(one.steps_total, 1)} label={`Progress of ${one.name}`} />
        <span className="muted">{`${one.steps_done.toLocaleString("en")} / ${one.steps_total.toLocaleString("en")}`}</span>
      </span>
    ),
  }),
  column.accessor((one) => one.eta_s ?? undefined, {
    id: "eta",
    header: "Left",
    size: 96,
    meta: { align: "right", hint: "An estimate from measured step times" },
    sortUndefined: "last",
    cell: (cell) => formatDuration(cell.getValue()),
  }),
  column.accessor((one) => one.best?.value, {
    id: "best",
    header: "Best so far",
    size: 190,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: ({ row: { original: one } }) =>
      one.best ? `${one.best.metric} ${formatMetric(one.best.value)}` : <span className="muted">{NONE}</span>,
  }),
  column.accessor("best_run", {
    id: "best_run",
    header: "Best run",
    size: 84,
    cell: ({ row: { original: one } }) =>
      one.best_run ? <Link to={`/experiments/${one.id}?only=${one.best_run}`}>{one.best_run}</Link> : NONE,
  }),
  column.accessor("created_at", { header: "Submitted", size: 160, cell: (cell) => formatTime(cell.getValue()) }),
];
