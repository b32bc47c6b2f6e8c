import { createColumnHelper } from "@tanstack/react-table";
import { Link } from "react-router";
import { formatAgo, formatBytes, formatPercent, formatTime, NONE } from "@/lib/format";
import { Progress, RunSwatch, StateBadge } from "@/ui/state";
import type { Column } from "@/ui/table/data-table";
import type { ClientRow } from "./client-model";
import css from "./clients.module.css";

const RUNS_SHOWN_MAX = 2;
const column = createColumnHelper<ClientRow>();

export const COLUMNS: readonly Column<ClientRow>[] = [
  column.accessor((row) => row.client.name, {
    id: "name",
    header: "Client",
    size: 104,
    cell: (cell) => <Link to={`/clients/${cell.getValue()}`}>{cell.getValue()}</Link>,
  }),
  column.accessor((row) => stateOf(row), {
    id: "state",
    header: "State",
    size: 96,
    cell: ({ row: { original: row } }) => <StateBadge state={stateLook(row)} text={stateOf(row)} />,
  }),
  column.accessor("busy", {
    header: "Busy slots",
    size: 80,
    meta: { align: "right" },
    cell: ({ row: { original: row } }) => `${row.busy} of ${row.client.slots.length}`,
  }),
  column.accessor((row) => row.runs.join(" "), {
    id: "runs",
    header: "Trains",
    size: 130,
    meta: { grow: true },
    cell: ({ row: { original: row } }) =>
      row.runs.length === 0 ? (
        <span className="muted">{row.client.state === "lost" ? row.client.lost_reason || "gone" : "nothing"}</span>
      ) : (
        <span className={css.runs}>
          {row.runs.slice(0, RUNS_SHOWN_MAX).map((run) => (
            <Link key={run} to={`/runs/${run}`} className={css.run}>
              <RunSwatch run={run} />
              {run}
            </Link>
          ))}
          {row.runs.length > RUNS_SHOWN_MAX && <span className="muted">{`+${row.runs.length - RUNS_SHOWN_MAX}`}</span>}
        </span>
      ),
  }),
  column.accessor("gpus", { header: "GPUs", size: 52, meta: { align: "right" } }),
  column.accessor("gpuUse", {
    header: "GPU use",
    size: 88,
    sortUndefined: "last",
    meta: { hint: "Mean over its GPUs, now" },
    cell: (cell) => <Share value={cell.getValue()} label="GPU use" />,
  }),
  column.accessor("cpuUse", {
    header: "CPU",
    size: 88,
    sortUndefined: "last",
    cell: (cell) => <Share value={cell.getValue()} label="CPU use" />,
  }),
  column.accessor("memoryUse", {
    header: "Memory",
    size: 88,
    sortUndefined: "last",
    cell: (cell) => <Share value={cell.getValue()} label="Memory in use" />,
  }),
  column.accessor("diskFree", {
    header: "Disk free",
    size: 72,
    sortUndefined: "last",
    meta: { align: "right" },
    cell: (cell) => formatBytes(cell.getValue()),
  }),
  column.accessor((row) => row.outsiders.join(", "), {
    id: "outsiders",
    header: "Outsiders",
    size: 78,
    meta: { hint: "Accounts whose own processes use its devices" },
    cell: (cell) => cell.getValue() || NONE,
  }),
  column.accessor((row) => labelsOf(row), {
    id: "labels",
    header: "Labels",
    size: 90,
    cell: (cell) => <span title={cell.getValue()}>{cell.getValue() || NONE}</span>,
  }),
  column.accessor((row) => row.client.version, { id: "version", header: "Version", size: 64 }),
  column.accessor((row) => row.client.registered_at, {
    id: "since",
    header: "Registered",
    size: 96,
    meta: { spare: true },
    cell: (cell) => <span title={formatTime(cell.getValue())}>{formatAgo(cell.getValue(), Date.now() / 1000)}</span>,
  }),
];

/** Being ready and having a connection are two things: a client may be gone for a moment. */
export function stateOf({ client }: Pick<ClientRow, "client">): string {
  return client.connected || client.state === "lost" ? client.state : `${client.state}, away`;
}

export function stateLook({ client }: Pick<ClientRow, "client">): string {
  return client.connected || client.state === "lost" ? client.state : "warning";
}

export function labelsOf({ client }: Pick<ClientRow, "client">): string {
  return Object.entries(client.labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(", ");
}

export function Share({ value, label }: { value: number | undefined; label: string }) {
  if (value === undefined) return <span className="muted">{NONE}</span>;
  return (
    <span className={css.share}>
      <Progress share={value} label={label} />
      {formatPercent(value)}
    </span>
  );
}
