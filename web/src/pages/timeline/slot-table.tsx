import { createColumnHelper } from "@tanstack/react-table";
import { useMemo } from "react";
import { formatDuration, formatPercent } from "@/lib/format";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { Panel } from "@/ui/panel";
import { type Column, DataTable } from "@/ui/table/data-table";
import { type Gantt, type Shares, rowShares } from "./model";
import type { View } from "./view";

interface SlotUse extends Shares {
  readonly slot: string;
  readonly chunks: number;
  readonly runs: number;
  readonly total: number;
}

const column = createColumnHelper<SlotUse>();
const share = (id: "train" | "setup" | "evaluate" | "idle", header: string): Column<SlotUse> =>
  column.accessor((one) => (one.total > 0 ? one[id] / one.total : 0), {
    id,
    header,
    size: 110,
    meta: { align: "right" },
    cell: (cell) => formatPercent(cell.getValue()),
  });
const COLUMNS: readonly Column<SlotUse>[] = [
  column.accessor("slot", { header: "Slot", size: 130 }),
  column.accessor("chunks", {
    header: "Chunks",
    size: 80,
    meta: { align: "right" },
    cell: (cell) => (cell.getValue() as number).toLocaleString("en"),
  }),
  column.accessor("runs", { header: "Runs", size: 70, meta: { align: "right" } }),
  share("train", "Training"),
  share("setup", "Set-up"),
  share("evaluate", "Evaluation"),
  share("idle", "Idle"),
  column.accessor("idle", {
    id: "idle_s",
    header: "Idle time",
    size: 110,
    meta: { align: "right" },
    cell: (cell) => formatDuration(cell.getValue()),
  }),
];
const PINNED = ["slot"];

/** The same in numbers: what each slot's time went into. */
export function SlotTable({ gantt, view, now }: { gantt: Gantt; view: View; now: number }) {
  const [sort, setSort] = useUrlState("slots", sortCodec);
  const rows = useMemo(
    () =>
      gantt.rows.map((row): SlotUse => {
        const shares = rowShares(row, view.from, view.to, now);
        const bars = row.bars.filter((bar) => bar.from < view.to && (bar.to ?? now) > view.from);
        return {
          slot: row.slot,
          chunks: bars.length,
          runs: new Set(bars.map((bar) => bar.run)).size,
          total: Object.values(shares).reduce((sum, value) => sum + value, 0),
          ...shares,
        };
      }),
    [gantt, view, now],
  );
  return (
    <Panel title="Slots in this range" flush>
      <DataTable
        label="Slots in this range"
        rows={rows}
        columns={COLUMNS}
        rowId={(row) => row.slot}
        sort={sort}
        onSort={setSort}
        pinned={PINNED}
        maxHeight={360}
      />
    </Panel>
  );
}
