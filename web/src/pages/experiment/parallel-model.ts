/** Parallel coordinates: one axis a parameter that differs, the last one for the metric. Pure. */
import type { RunView } from "@/api/runs";
import { type Range, withRange } from "@/lib/filter";
import { formatNumber, formatSetting } from "@/lib/format";

export interface Axis {
  readonly key: string;
  readonly label: string;
  /** Where on the axis a run stands, 0 at the bottom to 1; `null` where it has no value. */
  at(run: RunView): number | null;
  readonly ticks: readonly { readonly at: number; readonly text: string }[];
  /** Of an axis of numbers. */
  readonly scale: Scale | null;
}

export interface Scale {
  /** What the page's filter calls the axis. */
  readonly field: string;
  /** Where a value stands; beyond the axis it is less than 0 or more than 1. */
  place(value: number): number;
  value(at: number): number;
}

/** From that ratio of the greatest to the least value on an axis is logarithmic. */
const LOG_RATIO = 30;
/** The key of the axis of the objective. */
const METRIC = "best";
const TICKS_MAX = 8;
/** Ticks stand at least so much of an axis apart, so that their texts do not overlap. */
const TICK_APART = 0.075;

export function axesOf(runs: readonly RunView[], metric: string, keys: readonly string[]): Axis[] {
  const varying = keys.filter((key) => new Set(runs.map((run) => run.changes[key] ?? "")).size > 1);
  return [
    ...varying.map((key) => axisOf(key, key, runs, (run) => run.changes[key])),
    axisOf(METRIC, `best ${metric}`, runs, (run) => (run.best ? String(run.best.value) : undefined)),
  ];
}

function axisOf(
  key: string,
  label: string,
  runs: readonly RunView[],
  textOf: (run: RunView) => string | undefined,
): Axis {
  const texts = [...new Set(runs.map(textOf).filter((text) => text !== undefined && text !== ""))] as string[];
  const numbers = texts.map(Number);
  if (numbers.some(Number.isNaN)) return categories(key, label, texts, textOf);
  return numeric(
    key,
    label,
    [...new Set(numbers)].sort((a, b) => a - b),
    textOf,
  );
}

function categories(key: string, label: string, texts: string[], textOf: (run: RunView) => string | undefined): Axis {
  const places = new Map(
    texts.sort().map((text, index) => [text, texts.length < 2 ? 0.5 : index / (texts.length - 1)]),
  );
  const ticks = spaced([...places].map(([text, at]) => ({ at, text: formatSetting(text) })));
  return { key, label, ticks, scale: null, at: (run) => places.get(textOf(run) ?? "") ?? null };
}

function numeric(key: string, label: string, values: number[], textOf: (run: RunView) => string | undefined): Axis {
  const [min = 0] = values;
  const max = values.at(-1) ?? 1;
  const isLog = min > 0 && max / min >= LOG_RATIO;
  const scale = (value: number) => (isLog ? Math.log(value) : value);
  const span = scale(max) - scale(min);
  const place = (value: number) => (span === 0 ? 0.5 : (scale(value) - scale(min)) / span);
  const even = (share: number) => (isLog ? Math.exp(scale(min) + share * span) : min + share * span);
  const isEach = values.length <= TICKS_MAX;
  const shown = isEach ? values : span === 0 ? [min] : [0, 0.25, 0.5, 0.75, 1].map(even);
  // What a run was set to is exact; a place between values is not.
  const textAt = (value: number) => (key === METRIC ? formatNumber : formatSetting)(isEach ? value : rough(value));
  return {
    key,
    label,
    ticks: spaced(shown.map((value) => ({ at: place(value), text: textAt(value) }))),
    scale: span > 0 ? { field: key, place, value: even } : null,
    at: (run) => {
      const text = textOf(run);
      const value = text === undefined || text === "" ? Number.NaN : Number(text);
      return Number.isFinite(value) ? place(value) : null;
    },
  };
}

function rough(value: number): number {
  return Number(value.toPrecision(DIGITS));
}

/** Ascending ticks without those that are too near to another one; both ends stay. */
export function spaced(ticks: Axis["ticks"], apart = TICK_APART): Axis["ticks"] {
  const end = ticks.at(-1);
  const kept: { at: number; text: string }[] = [];
  for (const tick of ticks) {
    const before = kept.at(-1);
    const isFree = before === undefined || tick.at - before.at >= apart;
    if (tick === end || (isFree && (end === undefined || end.at - tick.at >= apart || kept.length === 0)))
      kept.push(tick);
  }
  return kept;
}

/** A run's line through its axes as an SVG path; axes without a value are left out. */
export function pathOf(
  run: RunView,
  axes: readonly Axis[],
  x: (index: number) => number,
  y: (at: number) => number,
): string {
  const points = axes.flatMap((axis, index) => {
    const at = axis.at(run);
    return at === null ? [] : [`${x(index).toFixed(1)} ${y(at).toFixed(1)}`];
  });
  return points.length > 1 ? `M${points.join("L")}` : "";
}

/** Less of an axis than that is a click. */
const CLICK = 0.02;
const DIGITS = 4;

/** The filter after somebody drew along an axis from one place to another. A click takes the axis's range away; an end of the axis is no limit. */
export function brushed(filter: string, scale: Scale, from: number, to: number): string {
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  if (high - low < CLICK) return withRange(filter, scale.field, [null, null]);
  const limit = (at: number) => (at <= 0 || at >= 1 ? null : rough(scale.value(at)));
  return withRange(filter, scale.field, [limit(low), limit(high)]);
}

/** The part of the axis that a range leaves. */
export function brushOf(scale: Scale, [low, high]: Range): readonly [number, number] | null {
  if (low === null && high === null) return null;
  const at = (value: number | null, end: number) =>
    value === null ? end : Math.min(1, Math.max(0, scale.place(value)));
  return [at(low, 0), at(high, 1)];
}
