/** Where the cells of a heat map stand: groups in rows, cells as large as the place allows. Pure. */

export interface HeatGroup {
  readonly key: string;
  readonly label: string;
  readonly cells: readonly HeatCell[];
}

export interface HeatCell {
  readonly key: string;
  readonly label: string;
  /** 0..1, or `null` where nothing is known. */
  readonly share: number | null;
  /** The value as people read it. */
  readonly text: string;
  /** What else to say about it, line by line. */
  readonly lines: readonly string[];
}

export interface Placed {
  readonly group: HeatGroup;
  readonly cell: HeatCell;
  readonly x: number;
  readonly y: number;
}

export interface Layout {
  readonly size: number;
  readonly height: number;
  readonly cells: readonly Placed[];
  readonly labels: readonly { readonly text: string; readonly x: number; readonly y: number }[];
}

export const SIZES = [44, 32, 24, 18, 14, 11] as const;
/** Cells of at least that size have room for their value. */
export const TEXT_SIZE_MIN = 32;
const GAP = 2;
const LABEL_PX = 18;
const GROUP_GAP = 8;

/** The largest cells with which everything stays below `heightMax`; the smallest ones where none do. */
export function layoutHeat(groups: readonly HeatGroup[], width: number, heightMax: number): Layout {
  let made = place(groups, width, SIZES[0]);
  for (const size of SIZES.slice(1)) {
    if (made.height <= heightMax) return made;
    made = place(groups, width, size);
  }
  return made;
}

/** Groups stand side by side while they fit, each under its name. */
function place(groups: readonly HeatGroup[], width: number, size: number): Layout {
  const step = size + GAP;
  const cells: Placed[] = [];
  const labels: { text: string; x: number; y: number }[] = [];
  let left = 0;
  let top = 0;
  let rowHeight = 0;
  for (const group of groups) {
    const labelWidth = group.label.length * 6.5;
    const across = Math.max(1, Math.min(group.cells.length, Math.floor((width + GAP) / step)));
    const groupWidth = Math.max(across * step - GAP, Math.min(width, labelWidth));
    if (left > 0 && left + groupWidth > width) {
      left = 0;
      top += rowHeight + GROUP_GAP;
      rowHeight = 0;
    }
    labels.push({ text: group.label, x: left, y: top + 12 });
    group.cells.forEach((cell, index) => {
      cells.push({
        group,
        cell,
        x: left + (index % across) * step,
        y: top + LABEL_PX + Math.floor(index / across) * step,
      });
    });
    rowHeight = Math.max(rowHeight, LABEL_PX + Math.ceil(group.cells.length / across) * step - GAP);
    left += groupWidth + GROUP_GAP * 2;
  }
  return { size, height: top + rowHeight, cells, labels };
}

/** The index of the cell at a point; -1 is none. */
export function cellAt(layout: Layout, x: number, y: number): number {
  return layout.cells.findIndex(
    (cell) => x >= cell.x && x < cell.x + layout.size && y >= cell.y && y < cell.y + layout.size,
  );
}
