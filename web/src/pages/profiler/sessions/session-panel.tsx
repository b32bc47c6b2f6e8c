import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { Link } from "react-router";
import {
  type BubbleView,
  type RunSummary,
  sessionQuery,
  type SessionView,
  summaryQuery,
} from "@/api/profiler-sessions";
import { formatBytes, formatDuration, formatNumber, formatPercent, formatTime, NONE, plural } from "@/lib/format";
import { fixedRange, timeRangeText } from "@/lib/time-range";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { RunSwatch } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import css from "../profiler.module.css";
import { causeText } from "./session-model";

/** While it runs. */
const LIVE_MS = 10_000;
const run = createColumnHelper<RunSummary>();
const right = { align: "right" } as const;
const RUNS: readonly Column<RunSummary>[] = [
  run.accessor("run", {
    header: "Run",
    size: 110,
    cell: (cell) => (
      <span className={css.rowActions}>
        <RunSwatch run={cell.getValue()} />
        <Link to={`/runs/${cell.getValue()}`}>{cell.getValue()}</Link>
      </span>
    ),
  }),
  run.accessor("gpu_hours", {
    header: "GPU-hours",
    size: 100,
    meta: right,
    cell: (cell) => formatNumber(Number(cell.getValue().toFixed(3))),
  }),
  run.accessor("slot_hours", {
    header: "Slot-hours",
    size: 100,
    meta: right,
    cell: (cell) => formatNumber(Number(cell.getValue().toFixed(3))),
  }),
  run.accessor((one) => one.energy_wh ?? undefined, {
    id: "energy",
    header: "Energy",
    size: 110,
    meta: right,
    sortUndefined: "last",
    cell: (cell) => (cell.getValue() === undefined ? NONE : `${formatNumber(cell.getValue())} Wh`),
  }),
  run.accessor((one) => one.memory_mean_bytes ?? undefined, {
    id: "memory",
    header: "Memory, mean",
    size: 120,
    meta: right,
    sortUndefined: "last",
    cell: (cell) => formatBytes(cell.getValue()),
  }),
  run.accessor((one) => one.memory_peak_bytes ?? undefined, {
    id: "peak",
    header: "Memory, peak",
    size: 120,
    meta: right,
    sortUndefined: "last",
    cell: (cell) => formatBytes(cell.getValue()),
  }),
  run.accessor((one) => one.utilization_mean ?? undefined, {
    id: "use",
    header: "Utilisation",
    size: 100,
    meta: right,
    sortUndefined: "last",
    cell: (cell) => formatPercent(cell.getValue()),
  }),
  run.accessor((one) => one.idle_share ?? undefined, {
    id: "idle",
    header: "Idle",
    size: 80,
    meta: right,
    sortUndefined: "last",
    cell: (cell) => formatPercent(cell.getValue()),
  }),
];
const bubble = createColumnHelper<BubbleView>();
const BUBBLES: readonly Column<BubbleView>[] = [
  bubble.accessor((one) => `${one.client} ${one.device}`, { id: "slot", header: "Slot", size: 150 }),
  bubble.accessor("from", {
    header: "From",
    size: 160,
    cell: ({ row: { original: one } }) => (
      <Link to={`/timeline?range=${timeRangeText(fixedRange(one.from - 30, one.to + 30))}`}>
        {formatTime(one.from)}
      </Link>
    ),
  }),
  bubble.accessor((one) => one.to - one.from, {
    id: "length",
    header: "Length",
    size: 110,
    meta: right,
    cell: (cell) => formatDuration(cell.getValue()),
  }),
  bubble.accessor("cause", { header: "Cause", size: 200, cell: (cell) => causeText(cell.getValue()) }),
];

/** What a session was about: its runs, and when slots trained nothing. */
export function SessionPanel({ session }: { session: SessionView }) {
  const refetchInterval = session.stopped_at === null ? LIVE_MS : false;
  const { data: counted } = useQuery({ ...sessionQuery(session.name), refetchInterval });
  const { data: summary, error } = useQuery({ ...summaryQuery(session.name), refetchInterval });
  const [runSort, setRunSort] = useUrlState("runs", sortCodec);
  const [bubbleSort, setBubbleSort] = useUrlState("bubbles", sortCodec);
  const causes = (summary?.causes ?? []).map(
    (one) => `${causeText(one.cause)}: ${formatDuration(one.total_s)} in ${plural(one.count, "gap")}`,
  );
  if (summary && summary.left_out > 0) causes.push(`the longest ${summary.bubbles.length} are shown`);
  const note = counted?.samples != null ? `${counted.samples.toLocaleString("en")} values` : undefined;
  return (
    <>
      <Panel title={`Runs of ${session.name}`} flush note={note}>
        {error && !summary && <ErrorNotice error={error} />}
        <DataTable
          label={`Runs of ${session.name}`}
          rows={summary?.runs ?? []}
          columns={RUNS}
          rowId={(one) => one.run}
          sort={runSort}
          onSort={setRunSort}
          pinned={RUN_PINNED}
          maxHeight={360}
          empty={summary && <Empty title="No run trained in this session" />}
        />
      </Panel>
      <Panel title={`Idle slots of ${session.name}`} flush note={causes.join("; ")}>
        <DataTable
          label={`Idle slots of ${session.name}`}
          rows={summary?.bubbles ?? []}
          columns={BUBBLES}
          rowId={(one) => `${one.client} ${one.device} ${one.from}`}
          sort={bubbleSort}
          onSort={setBubbleSort}
          pinned={BUBBLE_PINNED}
          maxHeight={360}
          empty={summary && <Empty title="No slot was idle for a second or longer" />}
        />
      </Panel>
    </>
  );
}

const RUN_PINNED = ["run"];
const BUBBLE_PINNED = ["slot"];
