/** Which chunk had which slot when. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { type TimeRange, rangeParams, timeRangeText } from "@/lib/time-range";
import { getJson } from "./client";
import type { TimelineRange } from "./schema";

export type { ChunkBar, SlotRow, TimelineRange } from "./schema";

/** Everything below ["timeline"] goes stale with the events of chunks, see `pages/timeline/use-fresh.ts`. */
export function timelineRangeQuery(range: TimeRange, experiment: string) {
  return queryOptions({
    queryKey: ["timeline", timeRangeText(range), experiment],
    queryFn: ({ signal }) =>
      getJson<TimelineRange>("timeline", { ...rangeParams(range), experiment: experiment || undefined }, signal),
    placeholderData: keepPreviousData,
  });
}
