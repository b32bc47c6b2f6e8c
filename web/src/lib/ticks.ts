/** Where an axis has its ticks and what they say: as exact as their distance asks for, so that no two say the same. Pure. */

import { POWERS } from "./format";

/** So many decimals tell values apart that are `step` from each other, and show a step such as 2.5 as it is. */
export function decimalsOf(step: number): number {
  if (!(step > 0) || !Number.isFinite(step)) return 0;
  const least = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
  const scaled = step * 10 ** least;
  return Math.min(20, Math.abs(scaled - Math.round(scaled)) < 1e-6 ? least : least + 1);
}

/** The value without noise behind the decimals that count. */
export function rounded(value: number, step: number): string {
  return String(Number(value.toFixed(decimalsOf(step))));
}

/** `5.84`, `1.25 M`, `2.5e-5`. */
export function numberTick(value: number, step: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5) return siTick(value, step, "");
  if (size >= 1e-3 || step >= 1e-3) return value.toFixed(decimalsOf(step));
  const digits = Math.floor(Math.log10(size) + 1e-9) + decimalsOf(step);
  return value.toExponential(Math.max(0, Math.min(20, digits))).replace("e+", "e");
}

/** With a prefix of a power of a thousand: `1.98 GHz`. */
export function siTick(value: number, step: number, unit: string): string {
  const size = Math.abs(value);
  const power = size < 1000 ? 0 : Math.min(POWERS.length - 1, Math.floor(Math.log10(size) / 3 + 1e-9));
  const scale = 1000 ** power;
  return `${rounded(value / scale, step / scale)} ${POWERS[power]}${unit}`.trimEnd();
}

/** Steps of an axis of elapsed time: seconds, minutes and hours as clocks have them. */
export const DURATION_STEPS_S: readonly number[] = [
  ...[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800],
  ...[3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 432_000, 864_000, 1_728_000],
];

/** `250 ms`, `45 s`, `1 min 30 s`, `2 h 15 min`, `3 d`: the parts that are not 0. */
export function durationTick(seconds: number, stepS: number): string {
  if (seconds < 0) return `-${durationTick(-seconds, stepS)}`;
  if (stepS < 1) return seconds < 1 ? `${rounded(seconds * 1000, stepS * 1000)} ms` : `${rounded(seconds, stepS)} s`;
  const whole = Math.round(seconds);
  const parts = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ] as const;
  const text = parts.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`);
  return text.length > 0 ? text.join(" ") : "0";
}

/** 1, 2 and 5 of every power of ten, from 1 on: things that are counted. */
export const WHOLE_STEPS: readonly number[] = Array.from({ length: 13 }, (_, power) =>
  [1, 2, 5].map((one) => one * 10 ** power),
).flat();

/** The ticks of a logarithmic axis: of decades where it spans some, else as even as on any axis. Both ends are above 0. */
export function logSplits(min: number, max: number): number[] {
  if (max / min < 10) return evenSplits(min, max, 5);
  const [first, last] = [Math.floor(Math.log10(min)), Math.ceil(Math.log10(max))];
  const spanned = last - first;
  const each = spanned <= 3 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(spanned / 10));
  const found: number[] = [];
  for (let power = first; power <= last; power += every) for (const one of each) found.push(Number(`${one}e${power}`));
  return found.filter((one) => one >= min && one <= max);
}

function evenSplits(min: number, max: number, count: number): number[] {
  const rough = (max - min) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 2.5, 5, 10].find((one) => one * power >= rough * 0.999) ?? 10) * power;
  const decimals = decimalsOf(step);
  const first = Math.ceil(min / step - 1e-9);
  const last = Math.floor(max / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) =>
    Number(((first + index) * step).toFixed(decimals)),
  );
}

/** The distance to the nearest neighbour; of decades each one's own. */
export function stepAt(splits: readonly number[], index: number): number {
  const at = splits[index] as number;
  const near = [splits[index - 1], splits[index + 1]]
    .filter((one) => one !== undefined)
    .map((one) => Math.abs(one - at));
  return near.length > 0 ? Math.min(...near) : Math.abs(at) || 1;
}
