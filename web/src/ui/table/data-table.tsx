/** A table for thousands of rows: sorted by its heads, with columns that stay in sight and rows that can be chosen. */
import {
  type ColumnDef,
  getCoreRowModel,
  getSortedRowModel,
  type Row,
  type RowData,
  type RowSelectionState,
  type SortingState,
  useReactTable,
} from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useMemo } from "react";
import type { Sort } from "@/lib/url-state";
import { useWidth } from "@/lib/use-width";
import { HeadCell } from "./head-cell";
import { BodyRow, type RowHighlight } from "./body-row";
import css from "./table.module.css";

declare module "@tanstack/react-table" {
  // eslint-disable-next-line @typescript-eslint/no-unused-vars -- the library's own parameters
  interface ColumnMeta<TData extends RowData, TValue> {
    align?: "right";
    /** Takes the width that is left. */
    grow?: boolean;
    /** Left out where the table would be wider than its place. */
    spare?: boolean;
    /** Of the head, where the column's name is not enough. */
    hint?: string;
  }
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- columns of one table have values of many types
export type Column<T> = ColumnDef<T, any>;

interface DataTableProps<T> {
  /** What the table is of, for screen readers. */
  label: string;
  rows: readonly T[];
  columns: readonly Column<T>[];
  rowId(row: T): string;
  sort: Sort | null;
  onSort(sort: Sort | null): void;
  /** Ids of columns that stay at the left edge. */
  pinned?: readonly string[];
  /** Ids of chosen rows; without `onSelect` rows cannot be chosen. */
  selected?: readonly string[];
  onSelect?(ids: readonly string[]): void;
  onHover?(id: string | null): void;
  highlighted?: RowHighlight;
  /** In pixels; the table scrolls inside. */
  maxHeight?: number;
  empty?: ReactNode;
}

export const ROW_PX = 32;
const OVERSCAN = 12;
const NO_ROWS: readonly string[] = [];
const NO_PINS: string[] = [];

export function DataTable<T>(props: DataTableProps<T>) {
  const { rows, rowId, sort, onSort, pinned, onSelect, maxHeight = 640 } = props;
  const selected = props.selected ?? NO_ROWS;
  const [box, width] = useWidth<HTMLDivElement>();
  const columns = useMemo(() => fitting(props.columns, width), [props.columns, width]);
  const sorting = useMemo<SortingState>(() => (sort ? [{ id: sort.column, desc: sort.descending }] : []), [sort]);
  const rowSelection = useMemo<RowSelectionState>(
    () => Object.fromEntries(selected.map((id) => [id, true])),
    [selected],
  );
  const pins = useMemo(() => ({ left: [...(pinned ?? NO_PINS)], right: [] }), [pinned]);
  const table = useReactTable<T>({
    data: rows as T[],
    columns: columns as Column<T>[],
    getRowId: rowId,
    state: { sorting, rowSelection, columnPinning: pins },
    onSortingChange: (update) => {
      const [next] = typeof update === "function" ? update(sorting) : update;
      onSort(next ? { column: next.id, descending: next.desc } : null);
    },
    onRowSelectionChange: (update) => {
      const next = typeof update === "function" ? update(rowSelection) : update;
      onSelect?.(Object.keys(next).filter((id) => next[id]));
    },
    enableRowSelection: onSelect !== undefined,
    getCoreRowModel: getCoreRowModel(),
    getSortedRowModel: getSortedRowModel(),
  });
  const shown = table.getRowModel().rows;
  const virtual = useVirtualizer({
    count: shown.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_PX,
    overscan: OVERSCAN,
    getItemKey: (index) => (shown[index] as Row<T>).id,
  });
  const items = virtual.getVirtualItems();
  const grows = columns.some((column) => column.meta?.grow);
  const above = items[0]?.start ?? 0;
  const below = virtual.getTotalSize() - (items.at(-1)?.end ?? 0);
  return (
    <div
      role="group"
      ref={box}
      className={css.box}
      style={{ maxHeight }}
      tabIndex={0}
      aria-label={`${props.label}, scrollable`}
    >
      <table
        className={css.table}
        style={{ minWidth: table.getTotalSize() }}
        aria-label={props.label}
        aria-rowcount={shown.length + 1}
      >
        <thead className={css.head}>
          {table.getHeaderGroups().map((group) => (
            <tr key={group.id} aria-rowindex={1}>
              {group.headers.map((header) => (
                <HeadCell key={header.id} header={header} />
              ))}
              {!grows && <th className={css.th} aria-hidden />}
            </tr>
          ))}
        </thead>
        <tbody onMouseLeave={props.onHover && (() => props.onHover?.(null))}>
          {above > 0 && <Spacer height={above} />}
          {items.map((item) => {
            const row = shown[item.index] as Row<T>;
            return (
              <BodyRow
                key={row.id}
                row={row}
                data={row.original}
                index={item.index + 2}
                columns={columns}
                pinned={pinned}
                hasFiller={!grows}
                isSelected={row.getIsSelected()}
                highlighted={props.highlighted}
                onHover={props.onHover}
              />
            );
          })}
          {below > 0 && <Spacer height={below} />}
        </tbody>
      </table>
      {shown.length === 0 && props.empty}
    </div>
  );
}

/** All columns, or those that are not spare where all are too wide; a width of 0 is not known yet. */
function fitting<T>(columns: readonly Column<T>[], width: number): readonly Column<T>[] {
  const total = columns.reduce((sum, column) => sum + (column.size ?? 0), 0);
  return width === 0 || total <= width ? columns : columns.filter((column) => !column.meta?.spare);
}

function Spacer({ height }: { height: number }) {
  return (
    <tr aria-hidden>
      <td className={css.spacer} style={{ height }} />
    </tr>
  );
}
