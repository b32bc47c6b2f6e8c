import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { useMemo } from "react";
import { Link } from "react-router";
import type { ClientView, SlotView } from "@/api/cluster";
import { type RunView, runsInStateQuery } from "@/api/runs";
import { formatBytes, formatDuration, formatMetric, NONE, plural } from "@/lib/format";
import { runColorCss } from "@/lib/run-color";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { Empty, Panel } from "@/ui/panel";
import { Progress, RunSwatch } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import css from "./client.module.css";

interface Row {
  readonly slot: SlotView;
  readonly run: RunView | undefined;
}

const RUNS_MAX = 1000;
const column = createColumnHelper<Row>();
const COLUMNS: readonly Column<Row>[] = [
  column.accessor((row) => row.slot.id, { id: "slot", header: "Slot", size: 96 }),
  column.accessor((row) => row.slot.device, {
    id: "device",
    header: "Device",
    size: 160,
    cell: ({ row: { original: row } }) => (
      <span title={row.slot.device_name}>
        {row.slot.device}
        {row.slot.device_name && <span className="muted">{` ${row.slot.device_name}`}</span>}
      </span>
    ),
  }),
  column.accessor((row) => row.slot.runs[0], {
    id: "run",
    header: "Trains",
    size: 72,
    sortUndefined: "last",
    cell: (cell) =>
      cell.getValue() ? (
        <Link to={`/runs/${cell.getValue()}`} className={css.run}>
          <RunSwatch run={cell.getValue() ?? ""} />
          {cell.getValue()}
        </Link>
      ) : (
        <span className="muted">nothing</span>
      ),
  }),
  column.accessor((row) => row.run && row.run.current_step / Math.max(1, row.run.total_steps), {
    id: "progress",
    header: "Step",
    size: 150,
    sortUndefined: "last",
    cell: ({ row: { original: row } }) =>
      row.run ? (
        <span className={css.progress}>
          <Progress
            share={row.run.current_step / Math.max(1, row.run.total_steps)}
            label={`Progress of ${row.run.id}`}
            color={runColorCss(row.run.id)}
          />
          <span className="muted">{`${row.run.current_step} / ${row.run.total_steps}`}</span>
        </span>
      ) : (
        NONE
      ),
  }),
  column.accessor((row) => row.run?.metrics.loss, {
    id: "loss",
    header: "Loss",
    size: 70,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatMetric(cell.getValue()),
  }),
  column.accessor((row) => row.run?.step_time_s ?? undefined, {
    id: "step_time",
    header: "Step time",
    size: 80,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatDuration(cell.getValue()),
  }),
  column.accessor((row) => row.slot.runs[1], {
    id: "next",
    header: "Next",
    size: 60,
    sortUndefined: "last",
    meta: { hint: "The run that it trains after this chunk" },
    cell: (cell) => cell.getValue() ?? NONE,
  }),
  column.accessor((row) => row.slot.threads, {
    id: "threads",
    header: "Threads",
    size: 70,
    meta: { align: "right" },
  }),
  column.accessor((row) => row.slot.memory_bytes || undefined, {
    id: "memory",
    header: "Memory",
    size: 80,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatBytes(cell.getValue()),
  }),
  column.accessor((row) => row.slot.explanation, {
    id: "why",
    header: "Why",
    size: 190,
    meta: { grow: true },
    cell: (cell) => (
      <span className="muted" title={cell.getValue()}>
        {cell.getValue()}
      </span>
    ),
  }),
];
const PINNED = ["slot"];

/** What each share of its devices does, and why. */
export function SlotsPanel({ client }: { client: ClientView }) {
  const { data: running } = useQuery(runsInStateQuery("running", RUNS_MAX));
  const [sort, setSort] = useUrlState("slots", sortCodec);
  const rows = useMemo(() => {
    const byId = new Map((running ?? []).map((run) => [run.id, run]));
    return client.slots.map((slot): Row => ({ slot, run: byId.get(slot.runs[0] ?? "") }));
  }, [client, running]);
  return (
    <Panel title="Slots" note={plural(rows.length, "slot")} flush>
      <DataTable
        label="Slots"
        rows={rows}
        columns={COLUMNS}
        rowId={(row) => row.slot.id}
        sort={sort}
        onSort={setSort}
        pinned={PINNED}
        maxHeight={360}
        empty={<Empty title="It offers no slots" />}
      />
    </Panel>
  );
}
