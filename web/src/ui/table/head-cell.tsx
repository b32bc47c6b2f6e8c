import { flexRender, type Header } from "@tanstack/react-table";
import { ArrowDown, ArrowUp } from "lucide-react";
import { cx } from "@/lib/cx";
import { Tooltip } from "../tooltip";
import { pinnedStyle } from "./pinned";
import css from "./table.module.css";

/** A column's name; pressing it sorts by the column, then the other way, then not. */
export function HeadCell<T>({ header }: { header: Header<T, unknown> }) {
  const { column } = header;
  const direction = column.getIsSorted();
  const name = header.isPlaceholder ? null : flexRender(column.columnDef.header, header.getContext());
  return (
    <th
      scope="col"
      className={cx(css.th, column.columnDef.meta?.align === "right" && css.right, column.getIsPinned() && css.pinned)}
      style={pinnedStyle(column)}
      aria-sort={direction === false ? undefined : direction === "asc" ? "ascending" : "descending"}
    >
      {column.getCanSort() ? (
        <Tooltip text={column.columnDef.meta?.hint}>
          <button type="button" className={css.sorter} onClick={column.getToggleSortingHandler()}>
            <span className={css.name}>{name}</span>
            {direction === "asc" && <ArrowUp size={12} aria-hidden />}
            {direction === "desc" && <ArrowDown size={12} aria-hidden />}
          </button>
        </Tooltip>
      ) : (
        name
      )}
    </th>
  );
}
