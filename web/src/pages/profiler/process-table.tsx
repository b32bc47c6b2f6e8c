import { createColumnHelper } from "@tanstack/react-table";
import { useMemo } from "react";
import { Link } from "react-router";
import type { Device } from "@/api/profiler";
import { formatBytes, formatPercent, plural } from "@/lib/format";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { Empty, Panel } from "@/ui/panel";
import { type Column, DataTable } from "@/ui/table/data-table";
import { ownerLabel, processRows, type ProcessRow, type Selection } from "./selection";

const column = createColumnHelper<ProcessRow>();
const COLUMNS: readonly Column<ProcessRow>[] = [
  column.accessor("pid", { header: "Process", size: 90 }),
  column.accessor("client", {
    header: "Client",
    size: 120,
    cell: (cell) => <Link to={`/clients/${cell.getValue()}`}>{cell.getValue()}</Link>,
  }),
  column.accessor("device", { header: "GPU", size: 90 }),
  column.accessor("owner", { header: "Whose", size: 160, cell: (cell) => ownerLabel(cell.getValue()) }),
  column.accessor("account", { header: "Account", size: 110 }),
  column.accessor((row) => row.memory_used_bytes ?? undefined, {
    id: "memory",
    header: "GPU memory",
    size: 110,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatBytes(cell.getValue()),
  }),
  column.accessor((row) => row.sm_utilization ?? undefined, {
    id: "sm",
    header: "SM use",
    size: 90,
    meta: { align: "right", hint: "Share of the GPU's multiprocessors" },
    sortUndefined: "last",
    cell: (cell) => formatPercent(cell.getValue()),
  }),
  column.accessor("command", { header: "Command", size: 260 }),
];
const PINNED = ["pid"];

/** The processes on the chosen GPUs, as they were last described. */
export function ProcessTable({ devices, selection }: { devices: readonly Device[]; selection: Selection }) {
  const [sort, setSort] = useUrlState("processes", sortCodec);
  const rows = useMemo(() => processRows(devices, selection), [devices, selection]);
  return (
    <Panel title="Processes on GPUs now" flush note={plural(rows.length, "process", "processes")}>
      <DataTable
        label="Processes on GPUs now"
        rows={rows}
        columns={COLUMNS}
        rowId={(row) => `${row.client} ${row.device} ${row.pid}`}
        sort={sort}
        onSort={setSort}
        pinned={PINNED}
        maxHeight={300}
        empty={<Empty title="No process uses these GPUs" />}
      />
    </Panel>
  );
}
