/** The lines of an answer on one time axis: as many columns as can be seen, gaps as gaps, extremes kept. Pure. */
import type { Answer, AnswerLine } from "@/api/profiler-query";

type Value = number | null | undefined;

export interface Gridded {
  readonly at: number[];
  /** One a line, in the answer's order. `null` is a gap, `undefined` no value at that time. */
  readonly mean: Value[][];
  readonly min: Value[][];
  readonly max: Value[][];
}

/** Rollups lie on a common grid already; samples have their machines' own times, and are put on one. */
export function gridded(
  answer: Pick<Answer, "from" | "to" | "step_s">,
  lines: readonly AnswerLine[],
  columns: number,
): Gridded {
  const length = Math.max(answer.to - answer.from, 1e-6);
  const width = answer.step_s > 0 ? answer.step_s : Math.max(length / columns, spacing(lines));
  const start = Math.floor(answer.from / width);
  const places = new Set<number>();
  for (const line of lines) for (const at of line.at) places.add(Math.floor(at / width) - start);
  const sorted = [...places].sort((a, b) => a - b);
  const index = new Map(sorted.map((place, order) => [place, order]));
  const rows = lines.map((line) =>
    placed(line, (at) => index.get(Math.floor(at / width) - start) as number, sorted.length),
  );
  return {
    at: sorted.map((place) => (place + start) * width),
    mean: rows.map((row) => row.mean),
    min: rows.map((row) => row.min),
    max: rows.map((row) => row.max),
  };
}

/** The usual distance of two samples: columns that are narrower would leave every second one empty. */
function spacing(lines: readonly AnswerLine[]): number {
  const gaps = lines.flatMap(({ at }) => at.slice(1, 40).map((time, order) => time - (at[order] as number)));
  const positive = gaps.filter((gap) => gap > 0).sort((a, b) => a - b);
  return positive[positive.length >> 1] ?? 0;
}

function placed(line: AnswerLine, placeOf: (at: number) => number, length: number) {
  const mean: Value[] = new Array(length).fill(undefined);
  const min: Value[] = new Array(length).fill(undefined);
  const max: Value[] = new Array(length).fill(undefined);
  const counts = new Uint32Array(length);
  line.at.forEach((at, order) => {
    const place = placeOf(at);
    const value = line.mean[order] ?? null;
    if (value === null) {
      if (mean[place] === undefined) mean[place] = min[place] = max[place] = null;
      return;
    }
    const count = (counts[place] = (counts[place] as number) + 1);
    const before = mean[place] ?? 0;
    mean[place] = before + (value - before) / count;
    min[place] = Math.min(min[place] ?? Infinity, line.min[order] ?? value);
    max[place] = Math.max(max[place] ?? -Infinity, line.max[order] ?? value);
  });
  return { mean, min, max };
}

export interface Figures {
  readonly last: number | null;
  readonly mean: number | null;
  readonly min: number | null;
  readonly max: number | null;
}

/** What a legend tells of a line; all `null` is a sensor that had no answer. */
export function figuresOf(line: AnswerLine): Figures {
  let sum = 0;
  let count = 0;
  let min = Infinity;
  let max = -Infinity;
  let last: number | null = null;
  line.mean.forEach((value, order) => {
    if (value === null) return;
    sum += value;
    count += 1;
    min = Math.min(min, line.min[order] ?? value);
    max = Math.max(max, line.max[order] ?? value);
    last = value;
  });
  return count === 0 ? { last: null, mean: null, min: null, max: null } : { last, mean: sum / count, min, max };
}

/** A sensor that had no answer in the whole range. */
export function isSilent(line: AnswerLine): boolean {
  return line.mean.every((value) => value === null);
}
