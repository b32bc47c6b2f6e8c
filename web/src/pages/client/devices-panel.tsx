import { createColumnHelper } from "@tanstack/react-table";
import { useMemo } from "react";
import { Link } from "react-router";
import type { Device } from "@/api/profiler";
import { formatBytes, formatNumber, NONE, plural } from "@/lib/format";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { type Reading, readingKey, shareOf } from "@/pages/clients/client-model";
import { Share } from "@/pages/clients/columns";
import { Empty, Panel } from "@/ui/panel";
import { type Column, DataTable } from "@/ui/table/data-table";

interface Row {
  readonly device: Device;
  readonly reading: Reading | undefined;
}

const column = createColumnHelper<Row>();
const value = (row: Row, metric: string) => row.reading?.values[metric] ?? undefined;
const COLUMNS: readonly Column<Row>[] = [
  column.accessor((row) => row.device.device, { id: "device", header: "Device", size: 96 }),
  column.accessor((row) => row.device.name, {
    id: "name",
    header: "Name",
    size: 190,
    cell: ({ row: { original: row } }) => <span title={row.device.uuid}>{row.device.name || NONE}</span>,
  }),
  column.accessor((row) => value(row, "gpu_utilization"), {
    id: "use",
    header: "Use",
    size: 110,
    sortUndefined: "last",
    cell: (cell) => <Share value={cell.getValue()} label="Use" />,
  }),
  column.accessor(
    (row) => shareOf(value(row, "gpu_memory_used"), value(row, "gpu_memory_total") ?? row.device.memory_total_bytes),
    {
      id: "memory",
      header: "Memory",
      size: 110,
      sortUndefined: "last",
      cell: (cell) => <Share value={cell.getValue()} label="Memory in use" />,
    },
  ),
  column.accessor((row) => value(row, "gpu_memory_used"), {
    id: "used",
    header: "Used",
    size: 84,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatBytes(cell.getValue()),
  }),
  column.accessor((row) => value(row, "gpu_power"), {
    id: "power",
    header: "Power",
    size: 110,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: ({ row: { original: row } }) => watts(value(row, "gpu_power"), value(row, "gpu_power_limit")),
  }),
  column.accessor((row) => value(row, "gpu_temperature"), {
    id: "temperature",
    header: "Temperature",
    size: 96,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => unit(cell.getValue(), "°C"),
  }),
  column.accessor((row) => value(row, "gpu_sm_clock"), {
    id: "clock",
    header: "Clock",
    size: 84,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => (cell.getValue() === undefined ? NONE : unit((cell.getValue() as number) / 1e6, "MHz")),
  }),
  column.accessor((row) => row.device.processes.length, {
    id: "processes",
    header: "Processes",
    size: 84,
    meta: { align: "right" },
  }),
];
const PINNED = ["device"];

/** GPUs and their newest readings. */
export function DevicesPanel({
  client,
  devices,
  values,
}: {
  client: string;
  devices: readonly Device[];
  values: ReadonlyMap<string, Reading>;
}) {
  const [sort, setSort] = useUrlState("devices", sortCodec);
  const rows = useMemo(
    () =>
      devices
        .filter((device) => device.kind === "gpu" || device.kind === "mig")
        .map((device): Row => ({ device, reading: values.get(readingKey(client, device.device)) })),
    [client, devices, values],
  );
  return (
    <Panel
      title="GPUs"
      note={rows.length > 0 && plural(rows.length, "device")}
      flush={rows.length > 0}
      actions={<Link to={`/profiler?client=${client}`}>Over time</Link>}
    >
      {rows.length > 0 ? (
        <DataTable
          label="Devices"
          rows={rows}
          columns={COLUMNS}
          rowId={(row) => row.device.device}
          sort={sort}
          onSort={setSort}
          pinned={PINNED}
          maxHeight={360}
        />
      ) : (
        <Empty title="This machine reports no GPU" />
      )}
    </Panel>
  );
}

function watts(power: number | undefined, limit: number | undefined): string {
  if (power === undefined) return NONE;
  return limit === undefined ? unit(power, "W") : `${Math.round(power)} / ${unit(limit, "W")}`;
}

function unit(known: number | undefined, name: string): string {
  return known === undefined ? NONE : `${formatNumber(Math.round(known))} ${name}`;
}
