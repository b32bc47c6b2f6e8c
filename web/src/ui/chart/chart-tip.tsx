/** What the lines say at the crosshair: those nearest to the pointer first. */
import type { Aligned } from "./align";
import css from "./chart.module.css";
import type { Line, Mark } from "./plot";

export interface TipState {
  readonly index: number;
  readonly left: number;
  readonly top: number;
  /** Of the chart. */
  readonly width: number;
  /** The y value at the pointer. */
  readonly value: number;
  /** The x value at the pointer, and how much of the axis a pixel is. */
  readonly x: number;
  readonly xPerPx: number;
  /** The line in front; -1 is none. */
  readonly focused: number;
}

const SHOWN_MAX = 8;
const MARKS_MAX = 4;
/** How near to the pointer a mark is told. */
const MARK_PX = 6;
const NEIGHBOURS = 40;

interface TipRow {
  readonly line: Line;
  readonly value: number;
  readonly isFocused: boolean;
}

/** Rows of the tip, and how many more lines there are. Lines whose points lie elsewhere say the nearest one before. */
export function tipRows(data: Aligned, lines: readonly Line[], tip: TipState): { rows: TipRow[]; more: number } {
  const found: TipRow[] = [];
  lines.forEach((line, index) => {
    const value = line.shadow ? null : valueAt(data[index + 1] ?? [], tip.index);
    if (value !== null) found.push({ line, value, isFocused: index === tip.focused });
  });
  found.sort((a, b) => Math.abs(a.value - tip.value) - Math.abs(b.value - tip.value));
  const rows = found.slice(0, SHOWN_MAX).sort((a, b) => b.value - a.value);
  return { rows, more: found.length - rows.length };
}

function valueAt(values: readonly (number | null | undefined)[], index: number): number | null {
  for (let at = index; at >= 0 && at > index - NEIGHBOURS; at -= 1) {
    const value = values[at];
    if (value === null) return null;
    if (value !== undefined) return value;
  }
  return null;
}

/** The marks at the pointer, the nearest first. */
export function marksAt(marks: readonly Mark[], { x, xPerPx }: Pick<TipState, "x" | "xPerPx">): readonly Mark[] {
  return marks
    .filter((mark) => Math.abs(mark.at - x) <= MARK_PX * xPerPx)
    .sort((a, b) => Math.abs(a.at - x) - Math.abs(b.at - x));
}

interface ChartTipProps {
  tip: TipState;
  data: Aligned;
  lines: readonly Line[];
  marks: readonly Mark[];
  formatX(x: number): string;
  formatY(y: number): string;
}

/** The same as one sentence, for screen readers. */
export function tipText({ tip, data, lines, marks, formatX, formatY }: ChartTipProps): string {
  const { rows, more } = tipRows(data, lines, tip);
  const values = rows.map(({ line, value }) => `${line.label} ${formatY(value)}`);
  if (more > 0) values.push(`and ${more} more`);
  const near = marksAt(marks, tip)
    .slice(0, MARKS_MAX)
    .map((mark) => mark.title ?? mark.text);
  return [formatX(data[0][tip.index] as number), ...values, ...near].join(", ");
}

export function ChartTip({ tip, data, lines, marks, formatX, formatY }: ChartTipProps) {
  const { rows, more } = tipRows(data, lines, tip);
  const near = marksAt(marks, tip);
  if (rows.length + near.length === 0) return null;
  const isRight = tip.left > tip.width / 2;
  return (
    <div
      className={css.tip}
      style={{ top: 8, ...(isRight ? { right: tip.width - tip.left + 14 } : { left: tip.left + 14 }) }}
      aria-hidden
    >
      <div className="muted">{formatX(data[0][tip.index] as number)}</div>
      {rows.map(({ line, value, isFocused }) => (
        <div key={line.key} className={isFocused ? css.tipFocused : css.tipRow}>
          <span className={css.tipSwatch} style={{ background: line.color }} />
          <span className={css.tipName}>{line.label}</span>
          <span>{formatY(value)}</span>
        </div>
      ))}
      {more > 0 && <div className="muted">and {more} more</div>}
      {near.slice(0, MARKS_MAX).map((mark, index) => (
        <div key={`${mark.at} ${index}`} className={css.tipMark}>
          {mark.title ?? mark.text}
        </div>
      ))}
      {near.length > MARKS_MAX && <div className="muted">and {near.length - MARKS_MAX} more marks</div>}
    </div>
  );
}
