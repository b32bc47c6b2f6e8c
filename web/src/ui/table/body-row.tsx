import { flexRender, type Row } from "@tanstack/react-table";
import { memo, useSyncExternalStore } from "react";
import { cx } from "@/lib/cx";
import { pinnedStyle } from "./pinned";
import css from "./table.module.css";

/** A store of the id of the row that is pointed at, here or elsewhere on the page. */
export interface RowHighlight {
  watch(watcher: () => void): () => void;
  current(): string | null;
}

const NOWHERE: RowHighlight = { watch: () => () => undefined, current: () => null };

interface BodyRowProps<T> {
  row: Row<T>;
  /** The row's own data, the columns and the pins: what it is drawn again for. */
  data: T;
  columns: unknown;
  pinned: unknown;
  index: number;
  /** No column takes the width that is left, so an empty cell does. */
  hasFiller: boolean;
  isSelected: boolean;
  highlighted?: RowHighlight;
  onHover?(id: string | null): void;
}

function Cells<T>({ row, index, hasFiller, isSelected, highlighted = NOWHERE, onHover }: BodyRowProps<T>) {
  const isHighlighted = useSyncExternalStore(highlighted.watch, () => highlighted.current() === row.id);
  return (
    <tr
      className={cx(css.row, isSelected && css.selected, isHighlighted && css.highlighted)}
      aria-rowindex={index}
      aria-selected={row.getCanSelect() ? isSelected : undefined}
      data-row={row.id}
      onMouseEnter={onHover && (() => onHover(row.id))}
    >
      {row.getVisibleCells().map((cell) => (
        <td
          key={cell.id}
          className={cx(
            css.td,
            cell.column.columnDef.meta?.align === "right" && css.right,
            cell.column.getIsPinned() && css.pinned,
          )}
          style={pinnedStyle(cell.column)}
        >
          {flexRender(cell.column.columnDef.cell, cell.getContext())}
        </td>
      ))}
      {hasFiller && <td className={css.td} aria-hidden />}
    </tr>
  );
}

export const BodyRow = memo(
  Cells,
  (before, after) =>
    before.data === after.data &&
    before.columns === after.columns &&
    before.pinned === after.pinned &&
    before.index === after.index &&
    before.isSelected === after.isSelected &&
    before.highlighted === after.highlighted,
) as typeof Cells;
