import type { Column } from "./data-table";

/** The column of boxes: each chooses its row, the one in the head all of them. */
export function selectColumn<T>(nameOf: (row: T) => string): Column<T> {
  return {
    id: "select",
    size: 36,
    enableSorting: false,
    header: ({ table }) => (
      <input
        type="checkbox"
        aria-label="Choose all rows"
        checked={table.getIsAllRowsSelected()}
        ref={(box) => {
          if (box) box.indeterminate = table.getIsSomeRowsSelected();
        }}
        onChange={table.getToggleAllRowsSelectedHandler()}
      />
    ),
    cell: ({ row }) => (
      <input
        type="checkbox"
        aria-label={`Choose ${nameOf(row.original)}`}
        checked={row.getIsSelected()}
        onChange={row.getToggleSelectedHandler()}
      />
    ),
  };
}
