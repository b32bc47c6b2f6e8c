/** Curves with x values of their own on one shared axis, as the chart needs them. Pure. */

export interface Curve {
  readonly key: string;
  /** Ascending. */
  readonly x: readonly number[];
  /** `null` is a gap. */
  readonly y: readonly (number | null)[];
}

/** `[x, y of curve 1, y of curve 2, ...]`; `undefined` is no value at that x and interrupts no line, `null` does. */
export type Aligned = [number[], ...(number | null | undefined)[][]];

/** Up to so many different x values are kept as they are. */
export const EXACT_MAX = 4000;

/**
 * All curves on one axis. With more x values than EXACT_MAX each curve keeps the least and the greatest value of each of `columns`
 * equal ranges, so no spike is lost and 200 curves of any length are drawn in a few milliseconds.
 */
export function align(curves: readonly Curve[], columns = 700): Aligned {
  const xs = new Set<number>();
  for (const curve of curves) for (const x of curve.x) xs.add(x);
  return xs.size <= EXACT_MAX
    ? exact(
        curves,
        [...xs].sort((a, b) => a - b),
      )
    : bucketed(curves, columns);
}

function exact(curves: readonly Curve[], xs: number[]): Aligned {
  const place = new Map(xs.map((x, index) => [x, index]));
  const lines = curves.map((curve) => {
    const line: (number | null | undefined)[] = new Array(xs.length).fill(undefined);
    curve.x.forEach((x, index) => {
      line[place.get(x) as number] = curve.y[index];
    });
    return line;
  });
  return [xs, ...lines];
}

function bucketed(curves: readonly Curve[], columns: number): Aligned {
  let min = Infinity;
  let max = -Infinity;
  for (const { x } of curves) {
    min = Math.min(min, x[0] ?? Infinity);
    max = Math.max(max, x.at(-1) ?? -Infinity);
  }
  const width = (max - min) / columns || 1;
  // Two places a column: what comes first of its least and its greatest value, and the other.
  const xs = Array.from({ length: columns * 2 }, (_, place) => min + (place / 2) * width);
  return [xs, ...curves.map((curve) => squeezed(curve, min, width, columns))];
}

function squeezed(curve: Curve, min: number, width: number, columns: number): (number | null | undefined)[] {
  const line: (number | null | undefined)[] = new Array(columns * 2).fill(undefined);
  for (let index = 0; index < curve.x.length;) {
    const column = columnOf(curve.x[index] as number, min, width, columns);
    let low: number | null = null;
    let high: number | null = null;
    let lowFirst = true;
    for (; index < curve.x.length && columnOf(curve.x[index] as number, min, width, columns) === column; index += 1) {
      const y = curve.y[index];
      if (y === null || y === undefined) continue;
      if (low === null || y < low) {
        low = y;
        lowFirst = false;
      }
      if (high === null || y > high) {
        high = y;
        lowFirst = true;
      }
    }
    line[column * 2] = lowFirst ? low : high;
    line[column * 2 + 1] = lowFirst ? high : low;
  }
  return line;
}

function columnOf(x: number, min: number, width: number, columns: number): number {
  return Math.min(columns - 1, Math.floor((x - min) / width));
}
