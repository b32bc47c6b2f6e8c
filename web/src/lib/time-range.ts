/** Ranges of time as people choose them: the last so many seconds, which go on, or between two moments. Pure. */
import type { Codec } from "./url-state";

export type TimeRange =
  | { readonly kind: "last"; readonly seconds: number }
  | { readonly kind: "fixed"; readonly from: number; readonly to: number };

export const PRESETS: readonly (readonly [text: string, seconds: number, label: string])[] = [
  ["5m", 300, "Last 5 minutes"],
  ["15m", 900, "Last 15 minutes"],
  ["30m", 1800, "Last 30 minutes"],
  ["1h", 3600, "Last hour"],
  ["3h", 10_800, "Last 3 hours"],
  ["6h", 21_600, "Last 6 hours"],
  ["12h", 43_200, "Last 12 hours"],
  ["24h", 86_400, "Last 24 hours"],
  ["2d", 172_800, "Last 2 days"],
  ["7d", 604_800, "Last 7 days"],
  ["30d", 2_592_000, "Last 30 days"],
];

const LENGTH_MIN_S = 1;
const LENGTH_MAX_S = 366 * 86_400;
const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `15m`, `6h`, `90s`, or `from~to` in seconds since the epoch. */
export function timeRangeCodec(fallback: string): Codec<TimeRange> {
  const other = parseTimeRange(fallback) ?? { kind: "last", seconds: 3600 };
  return {
    read: (text) => (text === null ? other : (parseTimeRange(text) ?? other)),
    write: (range) => {
      const text = timeRangeText(range);
      return text === fallback ? null : text;
    },
  };
}

export function parseTimeRange(text: string): TimeRange | null {
  const last = /^(\d+(?:\.\d+)?)([smhd])$/.exec(text);
  if (last) {
    const seconds = Number(last[1]) * (UNITS[last[2] as string] as number);
    return seconds >= LENGTH_MIN_S && seconds <= LENGTH_MAX_S ? { kind: "last", seconds } : null;
  }
  const [from, to, ...rest] = text.split("~").map((part) => (part === "" ? Number.NaN : Number(part)));
  if (rest.length > 0 || from === undefined || to === undefined) return null;
  return from > 0 && to - from >= LENGTH_MIN_S && to - from <= LENGTH_MAX_S ? { kind: "fixed", from, to } : null;
}

export function timeRangeText(range: TimeRange): string {
  if (range.kind === "fixed") return `${rounded(range.from)}~${rounded(range.to)}`;
  const preset = PRESETS.find(([, seconds]) => seconds === range.seconds);
  return preset ? preset[0] : `${range.seconds}s`;
}

/** As the host's routes take it: negative seconds are before now, 0 is now. */
export function rangeParams(range: TimeRange): { from: number; to: number } {
  return range.kind === "last" ? { from: -range.seconds, to: 0 } : { from: range.from, to: range.to };
}

export function resolved(range: TimeRange, now: number): readonly [number, number] {
  return range.kind === "last" ? [now - range.seconds, now] : [range.from, range.to];
}

/** Between two moments; never too short to look at, never longer than what can be asked for. */
export function fixedRange(from: number, to: number): TimeRange {
  const middle = (from + to) / 2;
  const half = Math.min(LENGTH_MAX_S, Math.max(LENGTH_MIN_S, to - from)) / 2;
  return {
    kind: "fixed",
    from: rounded(Math.max(1, middle - half)),
    to: rounded(Math.max(1, middle - half) + half * 2),
  };
}

/** Twice as long around the same middle, but not into the future. */
export function zoomedOut(range: TimeRange, now: number): TimeRange {
  const [from, to] = resolved(range, now);
  const quarter = (to - from) / 2;
  const end = Math.min(to + quarter, Math.max(now, to));
  return fixedRange(end - 4 * quarter, end);
}

/** Half a length earlier (-1) or later (1). */
export function shifted(range: TimeRange, direction: -1 | 1, now: number): TimeRange {
  const [from, to] = resolved(range, now);
  const end = Math.min(to + (direction * (to - from)) / 2, Math.max(now, to));
  return fixedRange(end - (to - from), end);
}

function rounded(at: number): number {
  return Math.round(at * 1000) / 1000;
}

/** The value of a `datetime-local` field, in local time. */
export function localText(at: number): string {
  const date = new Date(at * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

export function fromLocalText(text: string): number | null {
  const at = Date.parse(text) / 1000;
  return Number.isFinite(at) ? at : null;
}
