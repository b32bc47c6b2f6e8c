import { createColumnHelper } from "@tanstack/react-table";
import { useMemo } from "react";
import { Link } from "react-router";
import type { Device } from "@/api/profiler";
import { formatBytes, formatPercent, plural } from "@/lib/format";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { type Owner, type ProcessRow, processRows } from "@/pages/clients/client-model";
import { Empty, Panel } from "@/ui/panel";
import { RunSwatch, StateBadge } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import css from "./client.module.css";

const column = createColumnHelper<ProcessRow>();
const COLUMNS: readonly Column<ProcessRow>[] = [
  column.accessor((row) => row.process.pid, { id: "pid", header: "Process", size: 80, meta: { align: "right" } }),
  column.accessor("device", { header: "Device", size: 90 }),
  column.accessor((row) => `${row.owner.kind} ${row.owner.name}`, {
    id: "owner",
    header: "Whose",
    size: 170,
    cell: ({ row: { original: row } }) => <OwnerName owner={row.owner} />,
  }),
  column.accessor((row) => row.process.account, { id: "account", header: "Account", size: 100 }),
  column.accessor((row) => row.process.memory_used_bytes ?? undefined, {
    id: "memory",
    header: "GPU memory",
    size: 96,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatBytes(cell.getValue()),
  }),
  column.accessor((row) => row.process.sm_utilization ?? undefined, {
    id: "sm",
    header: "SM use",
    size: 80,
    meta: { align: "right", hint: "Share of the GPU's multiprocessors" },
    sortUndefined: "last",
    cell: (cell) => formatPercent(cell.getValue()),
  }),
  column.accessor((row) => row.process.command, {
    id: "command",
    header: "Command",
    size: 320,
    cell: (cell) => (
      <span className="mono" title={cell.getValue()}>
        {cell.getValue()}
      </span>
    ),
  }),
];
const PINNED = ["pid"];

/** Processes on its devices: the cluster's own, and those of others. */
export function ProcessesPanel({ devices }: { devices: readonly Device[] }) {
  const [sort, setSort] = useUrlState("processes", sortCodec);
  const rows = useMemo(() => processRows(devices), [devices]);
  const others = rows.filter((row) => row.owner.kind === "outsider").length;
  return (
    <Panel
      title="Processes on its devices"
      note={rows.length > 0 && `${plural(rows.length, "process", "processes")}, ${others} of outsiders`}
      flush={rows.length > 0}
    >
      {rows.length > 0 ? (
        <DataTable
          label="Processes"
          rows={rows}
          columns={COLUMNS}
          rowId={(row) => row.key}
          sort={sort}
          onSort={setSort}
          pinned={PINNED}
          maxHeight={320}
        />
      ) : (
        <Empty title="No process uses a device" />
      )}
    </Panel>
  );
}

function OwnerName({ owner }: { owner: Owner }) {
  switch (owner.kind) {
    case "run":
      return (
        <Link to={`/runs/${owner.name}`} className={css.run}>
          <RunSwatch run={owner.name} />
          {owner.name}
        </Link>
      );
    case "job":
      return <span>{`job ${owner.name}`}</span>;
    case "outsider":
      return <StateBadge state="warning" text={`outsider ${owner.name}`} />;
    case "unknown":
      return <span className="muted">unknown</span>;
  }
}
