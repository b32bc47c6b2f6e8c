import type { Column } from "@tanstack/react-table";
import type { CSSProperties } from "react";

/** Width of a column's cells, and their place where the column stays at the left edge. */
export function pinnedStyle<T>(column: Column<T, unknown>): CSSProperties {
  const width = column.columnDef.meta?.grow ? undefined : column.getSize();
  return column.getIsPinned() ? { width, left: column.getStart("left") } : { width };
}
