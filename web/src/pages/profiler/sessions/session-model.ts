/** What of sessions is worked out here. Pure. */
import type { BubbleView } from "@/api/profiler-sessions";

export interface CauseSum {
  readonly cause: string;
  readonly count: number;
  readonly seconds: number;
  readonly longest: number;
}

const CAUSES: Readonly<Record<string, string>> = {
  no_work: "no work for the slot",
  waiting: "the run waited",
  swap: "change of runs",
  client_lost: "client was lost",
  stopped: "stopped by a person",
};

export function causeText(cause: string): string {
  return CAUSES[cause] ?? cause.replaceAll("_", " ");
}

/** Idle time by its cause, the greatest first. */
export function causeSums(bubbles: readonly BubbleView[]): CauseSum[] {
  const sums = new Map<string, { count: number; seconds: number; longest: number }>();
  for (const { cause, from, to } of bubbles) {
    const sum = sums.get(cause) ?? { count: 0, seconds: 0, longest: 0 };
    sums.set(cause, {
      count: sum.count + 1,
      seconds: sum.seconds + (to - from),
      longest: Math.max(sum.longest, to - from),
    });
  }
  return [...sums].map(([cause, sum]) => ({ cause, ...sum })).sort((a, b) => b.seconds - a.seconds);
}

/** Why a session cannot be begun with that name and interval; `null` where it can. */
export function wrongWish(name: string, interval: string, taken: readonly string[]): string | null {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    return "A name has letters, digits, dots, dashes and underlines, 64 at most";
  if (taken.includes(name)) return `There is a session ${name} already`;
  const seconds = Number(interval);
  return interval.trim() !== "" && seconds >= 0.1 && seconds <= 3600 ? null : "The interval is 0.1 to 3600 seconds";
}
