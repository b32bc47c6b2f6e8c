import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { useMemo } from "react";
import { Link } from "react-router";
import { timelineQuery } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import { timelineRangeQuery } from "@/api/timeline";
import { formatDuration, formatMetric, formatMoment, formatPercent, formatTime, NONE, plural } from "@/lib/format";
import { runColorCss } from "@/lib/run-color";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { Empty, Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import { barsOf, type ChunkRow, chunkRows } from "./chunk-rows";
import { runRange, runRangeText } from "./run-range";
import css from "./run.module.css";

const LOOKS: Readonly<Record<ChunkRow["state"], string>> = {
  committed: "completed",
  training: "running",
  trained: "preparing",
  waiting: "queued",
  failed: "failed",
  dropped: "pruned",
};
const column = createColumnHelper<ChunkRow>();
const FIXED: readonly Column<ChunkRow>[] = [
  column.accessor("fromStep", {
    id: "steps",
    header: "Steps",
    size: 110,
    cell: ({ row: { original: row } }) => `${row.fromStep.toLocaleString("en")} – ${row.toStep.toLocaleString("en")}`,
  }),
  column.accessor("state", {
    header: "State",
    size: 110,
    cell: ({ row: { original: row } }) => <StateBadge state={LOOKS[row.state]} text={row.state} />,
  }),
  column.accessor("slot", {
    header: "Slot",
    size: 100,
    sortUndefined: "last",
    cell: (cell) => cell.getValue() ?? NONE,
  }),
  column.accessor("from", {
    header: "Began",
    size: 116,
    sortUndefined: "last",
    cell: (cell) => <span title={formatTime(cell.getValue())}>{formatMoment(cell.getValue())}</span>,
  }),
  column.accessor((row) => (row.from !== undefined && row.to !== undefined ? row.to - row.from : undefined), {
    id: "took",
    header: "Took",
    size: 84,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatDuration(cell.getValue()),
  }),
  column.accessor("checkpointKept", {
    id: "checkpoint",
    header: "Checkpoint",
    size: 90,
    cell: (cell) => (cell.getValue() ? "kept" : <span className="muted">{NONE}</span>),
  }),
];
const PINNED = ["steps"];

/** The run cut into chunks: what each brought, where and when it was trained. */
export function ChunksPanel({ run }: { run: RunView }) {
  // Read again with the events of this run, not with those of every other of its experiment.
  const { data: commits } = useQuery({ ...timelineQuery(run.experiment), queryKey: ["run", run.id, "commits"] });
  const { data: times } = useTimes(run);
  const [sort, setSort] = useUrlState("chunks", sortCodec);
  const rows = useMemo(() => chunkRows(run, commits?.chunks ?? [], times?.chunks ?? []), [run, commits, times]);
  const metrics = [...new Set(rows.flatMap((row) => Object.keys(row.metrics)))].sort().join(",");
  const columns = useMemo(() => [...FIXED, ...(metrics ? metrics.split(",") : []).map(metricColumn)], [metrics]);
  return (
    <Panel
      title="Chunks"
      note={rows.length > 0 && plural(rows.length, "chunk")}
      flush
      actions={
        <Link to={`/timeline?experiment=${run.experiment}&run=${run.id}&range=${runRangeText(run)}`}>
          On the timeline
        </Link>
      }
    >
      <Strip run={run} rows={rows} now={times?.to ?? 0} />
      <DataTable
        label="Chunks"
        rows={rows}
        columns={columns}
        rowId={(row) => row.key}
        sort={sort}
        onSort={setSort}
        pinned={PINNED}
        maxHeight={320}
        empty={commits && <Empty title="It has trained no chunk yet" />}
      />
    </Panel>
  );
}

function useTimes(run: RunView) {
  const { created_at, ended_at } = run;
  const range = useMemo(() => runRange({ created_at, ended_at }), [created_at, ended_at]);
  return useQuery({
    ...timelineRangeQuery(range, run.experiment),
    refetchInterval: ended_at === null ? 15_000 : false,
  });
}

/** Its chunks in time: what is between them is waiting. */
function Strip({ run, rows, now }: { run: RunView; rows: readonly ChunkRow[]; now: number }) {
  const line = useMemo(() => barsOf(rows, now), [rows, now]);
  if (!line) return null;
  const label = `Trained ${formatPercent(line.busy)} of the time from ${formatTime(line.from)} to ${formatTime(line.to)}`;
  return (
    <div className={css.strip}>
      <svg width="100%" height="18" role="img" aria-label={label}>
        {line.bars.map(({ row, left, width }) => (
          <rect
            key={row.key}
            x={`${left * 100}%`}
            style={{ width: `max(1px, calc(${width * 100}% - 1px))`, fill: fillOf(row, run.id) }}
            y={row.state === "failed" || row.state === "dropped" ? 9 : 0}
            height={row.state === "failed" || row.state === "dropped" ? 9 : 18}
          >
            <title>{`steps ${row.fromStep} – ${row.toStep}, ${row.state}, ${row.slot ?? "no slot"}`}</title>
          </rect>
        ))}
      </svg>
      <span className="muted">
        {`${formatMoment(line.from)} – ${formatMoment(line.to)}, on a slot ${formatPercent(line.busy)} of the time`}
      </span>
    </div>
  );
}

function fillOf(row: ChunkRow, run: string): string {
  return row.state === "failed" || row.state === "dropped" ? "var(--st-fail)" : runColorCss(run);
}

function metricColumn(name: string): Column<ChunkRow> {
  return column.accessor((row) => row.metrics[name], {
    id: `metric ${name}`,
    header: name,
    size: 92,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatMetric(cell.getValue()),
  });
}
