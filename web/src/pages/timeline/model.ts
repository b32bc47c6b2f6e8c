/** From chunks to what the Gantt draws, finds and tells. Pure. */
import type { ChunkBar, SlotRow, TimelineRange } from "@/api/timeline";
import { formatMoment, formatDuration, formatPercent, plural } from "@/lib/format";

export interface Bar extends ChunkBar {
  readonly key: string;
  readonly row: number;
}

export interface Row extends SlotRow {
  /** By their begin; they do not overlap. */
  readonly bars: readonly Bar[];
}

export interface Gantt {
  readonly rows: readonly Row[];
  readonly byKey: ReadonlyMap<string, Bar>;
}

export function barKey(bar: ChunkBar): string {
  return `${bar.slot}~${bar.run}~${bar.generation}`;
}

/** `own`: the chunks of what the page is about, where there are too many in all. */
export function ganttOf(data: TimelineRange | undefined, own?: TimelineRange): Gantt {
  const slots = new Map([...(own?.slots ?? []), ...(data?.slots ?? [])].map((slot) => [slot.slot, slot]));
  // Before the oldest of too many chunks nobody knows what the slots did.
  const known = data && !data.complete ? (data.chunks[0]?.from ?? -Infinity) : -Infinity;
  const rows = [...slots.values()]
    .sort((a, b) => byNumber(a.client, b.client) || byNumber(a.slot, b.slot))
    .map((slot) => ({ ...slot, since: Math.max(slot.since, known), bars: [] as Bar[] }));
  const places = new Map(rows.map((row, index) => [row.slot, index]));
  const byKey = new Map<string, Bar>();
  for (const chunk of united(data?.chunks ?? [], own?.chunks ?? [])) {
    const row = places.get(chunk.slot);
    if (row === undefined) continue;
    const bar = { ...chunk, key: barKey(chunk), row };
    rows[row]?.bars.push(bar);
    byKey.set(bar.key, bar);
  }
  return { rows, byKey };
}

function byNumber(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

/** By their begin, each once. */
function united(chunks: readonly ChunkBar[], own: readonly ChunkBar[]): readonly ChunkBar[] {
  if (own.length === 0) return chunks;
  const byKey = new Map([...own, ...chunks].map((chunk) => [barKey(chunk), chunk]));
  return [...byKey.values()].sort((a, b) => a.from - b.from);
}

/** The first bar of a row that ends after `at`; the number of bars where there is none. */
export function firstAfter(bars: readonly Bar[], at: number): number {
  let low = 0;
  let high = bars.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const bar = bars[middle] as Bar;
    if ((bar.to ?? Infinity) <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The bar at a moment, or one that begins at most `reach` seconds away from it: very short ones can be hit, too. */
export function barAt(bars: readonly Bar[], at: number, reach: number): Bar | null {
  const index = firstAfter(bars, at);
  const here = bars[index];
  if (here && here.from <= at) return here;
  const before = bars[index - 1];
  if (here && here.from - at <= reach) return here;
  return before && at - (before.to ?? at) <= reach ? before : null;
}

export type Step = "ArrowLeft" | "ArrowRight" | "ArrowUp" | "ArrowDown" | "Home" | "End";

export function isStep(key: string): key is Step {
  return ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(key);
}

/** Where an arrow key leads: along the slot, or to what another slot had at that time. */
export function walked(gantt: Gantt, from: Bar | null, step: Step): Bar | null {
  if (from === null) return gantt.rows.find((row) => row.bars.length > 0)?.bars.at(-1) ?? null;
  const own = gantt.rows[from.row]?.bars ?? [];
  const index = own.findIndex((bar) => bar.key === from.key);
  switch (step) {
    case "ArrowLeft":
      return own[index - 1] ?? from;
    case "ArrowRight":
      return own[index + 1] ?? from;
    case "Home":
      return own[0] ?? from;
    case "End":
      return own.at(-1) ?? from;
    case "ArrowUp":
      return nextRow(gantt, from, -1);
    case "ArrowDown":
      return nextRow(gantt, from, 1);
  }
}

function nextRow(gantt: Gantt, from: Bar, direction: -1 | 1): Bar {
  for (let row = from.row + direction; row >= 0 && row < gantt.rows.length; row += direction) {
    const bars = gantt.rows[row]?.bars ?? [];
    const found = bars[firstAfter(bars, from.from)] ?? bars.at(-1);
    if (found) return found;
  }
  return from;
}

/** Seconds of slots: what their time went into. `other` is of chunks whose steps are not known. */
export interface Shares {
  readonly setup: number;
  readonly train: number;
  readonly evaluate: number;
  readonly other: number;
  readonly idle: number;
}

export const NOTHING: Shares = { setup: 0, train: 0, evaluate: 0, other: 0, idle: 0 };

/** A chunk's parts, clipped to a range. What trains has no end yet: it reaches to `now`. */
export function partsOf(bar: ChunkBar, from: number, to: number, now: number): Omit<Shares, "idle"> {
  const end = bar.to ?? Math.max(now, bar.from);
  const within = (start: number, stop: number) => Math.max(0, Math.min(stop, to) - Math.max(start, from));
  if (bar.train_from === null) {
    // The first step is not done: it is being set up. An old chunk without steps tells nothing.
    const whole = within(bar.from, end);
    return bar.outcome === "training"
      ? { setup: whole, train: 0, evaluate: 0, other: 0 }
      : { setup: 0, train: 0, evaluate: 0, other: whole };
  }
  const trained = bar.train_to ?? end;
  return {
    setup: within(bar.from, bar.train_from),
    train: within(bar.train_from, trained),
    // What is behind it is idle time in which nobody could tell the host of the end.
    evaluate: within(trained, bar.evaluated_to ?? end),
    other: 0,
  };
}

/** Seconds behind a chunk's evaluation in which its slot was idle and could not tell the host, which was away. */
export function unheardS(bar: ChunkBar): number {
  return bar.to === null || bar.evaluated_to === null ? 0 : Math.max(0, bar.to - bar.evaluated_to);
}

export function sharesOf(bars: readonly Bar[], from: number, to: number, now: number): Shares {
  const sum = { setup: 0, train: 0, evaluate: 0, other: 0 };
  for (let index = firstAfter(bars, from); index < bars.length; index += 1) {
    const bar = bars[index] as Bar;
    if (bar.from >= to) break;
    const parts = partsOf(bar, from, to, now);
    sum.setup += parts.setup;
    sum.train += parts.train;
    sum.evaluate += parts.evaluate;
    sum.other += parts.other;
  }
  const known = Math.max(0, Math.min(to, now) - from);
  const idle = Math.max(0, known - sum.setup - sum.train - sum.evaluate - sum.other);
  return { ...sum, idle };
}

/** Of a slot, from when it was known. */
export function rowShares(row: Row, from: number, to: number, now: number): Shares {
  return sharesOf(row.bars, Math.max(from, row.since), to, now);
}

export function added(a: Shares, b: Shares): Shares {
  return {
    setup: a.setup + b.setup,
    train: a.train + b.train,
    evaluate: a.evaluate + b.evaluate,
    other: a.other + b.other,
    idle: a.idle + b.idle,
  };
}

/** What all slots did at each of `columns` moments of a range, as shares of them. */
export function stacked(gantt: Gantt, from: number, to: number, now: number, columns: number): Shares[] {
  const width = (to - from) / columns;
  const sums = Array.from({ length: columns }, () => ({ setup: 0, train: 0, evaluate: 0, other: 0 }));
  for (const { bars, since } of gantt.rows) {
    for (let index = firstAfter(bars, from); index < bars.length; index += 1) {
      const bar = bars[index] as Bar;
      if (bar.from >= to) break;
      const end = Math.min(bar.to ?? now, to);
      const last = Math.min(columns - 1, Math.floor((end - from) / width));
      for (let column = Math.max(0, Math.floor((bar.from - from) / width)); column <= last; column += 1) {
        const parts = partsOf(bar, Math.max(since, from + column * width), from + (column + 1) * width, now);
        const sum = sums[column] as (typeof sums)[number];
        sum.setup += parts.setup;
        sum.train += parts.train;
        sum.evaluate += parts.evaluate;
        sum.other += parts.other;
      }
    }
  }
  const all = width * gantt.rows.length || 1;
  return sums.map(({ setup, train, evaluate, other }) => ({
    setup: setup / all,
    train: train / all,
    evaluate: evaluate / all,
    other: other / all,
    idle: Math.max(0, 1 - (setup + train + evaluate + other) / all),
  }));
}

/** A chunk in words. */
export function barText(bar: Bar, now: number): string {
  const end = bar.to ?? now;
  const parts = partsOf(bar, bar.from, Math.max(end, bar.from), now);
  return [
    `${bar.run}, steps ${bar.from_step} to ${bar.to_step} on ${bar.slot}`,
    `${formatMoment(bar.from)} to ${bar.to === null ? "now" : formatMoment(bar.to)}, ${formatDuration(end - bar.from)}`,
    `set-up ${formatDuration(parts.setup)}, training ${formatDuration(parts.train)}, evaluation ${formatDuration(parts.evaluate)}`,
    ...(bar.outcome === "trained" ? [] : [bar.outcome]),
  ].join("; ");
}

/** Which chunks the page is about; the others are pale, and their slots are no less busy. */
export interface Focus {
  /** Empty is any. */
  readonly experiment: string;
  readonly run: string;
}

export const EVERYTHING: Focus = { experiment: "", run: "" };

export function isInFocus(bar: ChunkBar, focus: Focus): boolean {
  return (
    (focus.run === "" || focus.run === bar.run) && (focus.experiment === "" || focus.experiment === bar.experiment)
  );
}

/** The whole range in words: the chunks that it is about, and what all of the slots' time went into. */
export function summaryText(gantt: Gantt, shares: Shares, focus = EVERYTHING): string {
  const bars = [...gantt.byKey.values()].filter((bar) => isInFocus(bar, focus));
  const runs = new Set(bars.map((bar) => bar.run)).size;
  const failed = bars.filter((bar) => bar.outcome === "failed").length;
  const total = Object.values(shares).reduce((sum, value) => sum + value, 0) || 1;
  const head = `${plural(gantt.rows.length, "slot")}, ${plural(bars.length, "chunk")} of ${plural(runs, "run")}`;
  return (
    `${head}: ${formatPercent(shares.train / total)} training, ${formatPercent(shares.setup / total)} set-up, ` +
    `${formatPercent(shares.evaluate / total)} evaluation, ${formatPercent(shares.idle / total)} idle` +
    (failed > 0 ? `; ${plural(failed, "chunk")} failed` : "")
  );
}
