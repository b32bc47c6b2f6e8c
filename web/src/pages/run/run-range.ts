/** The time in which a run was there. Pure. */
import type { RunView } from "@/api/runs";
import { fixedRange, type TimeRange, timeRangeText } from "@/lib/time-range";

/** The host keeps times for so long, and answers no longer ranges. */
const RANGE_MAX_S = 30 * 86_400;
const ROUND_S = 600;

/** Up to now while it goes on, in steps of ten minutes, so that the question stays the same for a while. */
export function runRange(run: Pick<RunView, "created_at" | "ended_at">, now = Date.now() / 1000): TimeRange {
  const { created_at: begun, ended_at: ended } = run;
  if (ended !== null) return fixedRange(Math.max(begun, ended - RANGE_MAX_S), ended + 1);
  return { kind: "last", seconds: Math.min(RANGE_MAX_S, Math.ceil((now - begun) / ROUND_S + 1) * ROUND_S) };
}

/** As an address has it. */
export function runRangeText(run: Pick<RunView, "created_at" | "ended_at">): string {
  return timeRangeText(runRange(run));
}
