/** Which chunk had which slot when. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { type TimeRange, rangeParams, timeRangeText } from "@/lib/time-range";
import { getJson } from "./client";

export interface SlotRow {
  readonly slot: string;
  readonly client: string;
  /** Of the profiler: `gpu:0`, or `slot:0` where the slot has no GPU. */
  readonly device: string;
  /** Known from then on; before that it was nobody's idle slot. */
  readonly since: number;
}

export interface ChunkBar {
  readonly slot: string;
  readonly run: string;
  readonly experiment: string;
  readonly generation: number;
  readonly from_step: number;
  readonly to_step: number;
  readonly from: number;
  /** `null` while it trains. */
  readonly to: number | null;
  readonly train_from: number | null;
  readonly train_to: number | null;
  readonly step_time_s: number | null;
  readonly outcome: "training" | "trained" | "failed" | "dropped";
}

export interface TimelineRange {
  readonly from: number;
  readonly to: number;
  readonly slots: readonly SlotRow[];
  readonly chunks: readonly ChunkBar[];
  readonly complete: boolean;
}

/** Everything below ["timeline"] goes stale with the events of chunks, see `pages/timeline/use-fresh.ts`. */
export function timelineRangeQuery(range: TimeRange, experiment: string) {
  return queryOptions({
    queryKey: ["timeline", timeRangeText(range), experiment],
    queryFn: ({ signal }) =>
      getJson<TimelineRange>("timeline", { ...rangeParams(range), experiment: experiment || undefined }, signal),
    placeholderData: keepPreviousData,
  });
}
