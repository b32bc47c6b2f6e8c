/** The profiler's charts: the catalog, lines of values by time, and what happened meanwhile. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { type TimeRange, rangeParams, timeRangeText } from "@/lib/time-range";
import { ApiError, getJson } from "./client";
import type { Aggregate, By, MetricList, NoteList, NoteView, QueryView } from "./schema";

export type {
  Aggregate,
  By,
  CatalogMetric as Metric,
  NoteView as Note,
  QueryView as Answer,
  SeriesLine as AnswerLine,
} from "./schema";
export type NoteKind = NoteView["kind"];

export interface Wish {
  readonly metrics: readonly string[];
  readonly clients?: readonly string[];
  readonly gpus?: readonly string[];
  readonly runs?: readonly string[];
  readonly owners?: readonly string[];
  readonly aggregate?: Aggregate;
  readonly by?: By;
  readonly points: number;
}

const retry = (count: number, error: Error) => !(error instanceof ApiError) && count < 2;

export const metricsQuery = queryOptions({
  queryKey: ["profiler", "metrics"],
  queryFn: async ({ signal }) => (await getJson<MetricList>("profiler/metrics", {}, signal)).items,
  staleTime: Infinity,
  retry,
});

export function answerQuery(range: TimeRange, wish: Wish, refreshMs: number | false) {
  const list = (names: readonly string[] | undefined) => (names && names.length > 0 ? names.join(",") : undefined);
  return queryOptions({
    queryKey: ["profiler", "query", timeRangeText(range), wish],
    queryFn: ({ signal }) =>
      getJson<QueryView>(
        "profiler/query",
        {
          metric: wish.metrics,
          clients: list(wish.clients),
          gpus: list(wish.gpus),
          runs: list(wish.runs),
          owners: list(wish.owners),
          ...rangeParams(range),
          points: wish.points,
          aggregate: wish.aggregate,
          by: wish.by,
        },
        signal,
      ),
    // What was there stays in sight until the new answer comes.
    placeholderData: keepPreviousData,
    refetchInterval: range.kind === "last" ? refreshMs : false,
    gcTime: 60_000,
    retry,
  });
}

export function notesQuery(range: TimeRange, refreshMs: number | false) {
  return queryOptions({
    queryKey: ["profiler", "annotations", timeRangeText(range)],
    queryFn: ({ signal }) => getJson<NoteList>("profiler/annotations", { ...rangeParams(range) }, signal),
    placeholderData: keepPreviousData,
    refetchInterval: range.kind === "last" ? refreshMs : false,
    retry,
  });
}
