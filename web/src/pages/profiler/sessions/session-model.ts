/** What of sessions is worked out here. Pure. */
import type { SessionView } from "@/api/profiler-sessions";
import { formatDuration, plural } from "@/lib/format";

const CAUSES: Readonly<Record<string, string>> = {
  no_work: "no work queued",
  none_fits: "no queued run fits the slot",
  kept_for_gang: "kept for a gang",
  waiting: "the run waited",
  swap: "change of runs",
  stopped: "stopped by a person",
  outsiders: "used by other people",
  drained: "client was draining",
  client_lost: "client was lost",
  client_left: "client had left",
};

export function causeText(cause: string): string {
  return CAUSES[cause] ?? cause.replaceAll("_", " ");
}

/** Why a session cannot be begun with that name and interval; `null` where it can. */
export function wrongWish(name: string, interval: string, taken: readonly string[]): string | null {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    return "A name has letters, digits, dots, dashes and underlines, 64 at most";
  if (taken.includes(name)) return `There is a session ${name} already`;
  const seconds = Number(interval);
  if (interval.trim() !== "" && seconds >= 0.1 && seconds <= 1) return null;
  return "The interval is 0.1 to 1 second: everything is sampled once a second anyway";
}

/** What a session is sampled at: its interval, and how many of its metrics have another one. */
export function intervalText({ interval_s, other_intervals_s }: Intervals): string {
  const others = [...byInterval(other_intervals_s)].map(
    ([seconds, names]) => `${formatDuration(seconds)} for ${plural(names.length, "metric")}`,
  );
  return [formatDuration(interval_s), ...others].join(", ");
}

/** Which metrics those are. */
export function intervalHint({ other_intervals_s }: Intervals): string | undefined {
  const lines = [...byInterval(other_intervals_s)].map(
    ([seconds, names]) => `${formatDuration(seconds)}: ${names.join(", ")}`,
  );
  return lines.join("\n") || undefined;
}

type Intervals = Pick<SessionView, "interval_s" | "other_intervals_s">;

function byInterval(others: Intervals["other_intervals_s"]): Map<number, string[]> {
  const found = new Map<number, string[]>();
  for (const [metric, seconds] of Object.entries(others).sort(([, a], [, b]) => a - b))
    found.set(seconds, [...(found.get(seconds) ?? []), metric]);
  return found;
}

export interface SessionRow extends SessionView {
  /** In seconds; of one that runs until now. */
  readonly length: number;
}

/** New rows for every moment: a table keeps what it has worked out of the old ones. */
export function sessionRows(sessions: readonly SessionView[], now: number): readonly SessionRow[] {
  return sessions.map((one) => ({ ...one, length: Math.max(0, (one.stopped_at ?? now) - one.started_at) }));
}
