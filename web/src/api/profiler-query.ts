/** The profiler's charts: the catalog, lines of values by time, and what happened meanwhile. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { type TimeRange, rangeParams, timeRangeText } from "@/lib/time-range";
import { ApiError, getJson } from "./client";

export interface Metric {
  readonly name: string;
  readonly unit: string;
  readonly group: string;
  readonly kind: "gauge" | "counter";
  readonly help: string;
}

export type Aggregate = "none" | "mean" | "max" | "min" | "sum";
export type By = "device" | "client" | "run" | "all";

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

export interface AnswerLine {
  readonly client: string;
  readonly device: string;
  readonly owner: string;
  readonly run: string;
  readonly metric: string;
  readonly unit: string;
  readonly at: readonly number[];
  readonly mean: readonly (number | null)[];
  readonly min: readonly (number | null)[];
  readonly max: readonly (number | null)[];
}

export interface Answer {
  readonly from: number;
  readonly to: number;
  /** The width of a point; 0 where points are samples. */
  readonly step_s: number;
  readonly series: readonly AnswerLine[];
}

export type NoteKind = "op" | "checkpoint" | "eval" | "failure" | "client";

export interface Note {
  readonly at: number;
  readonly kind: NoteKind;
  readonly text: string;
  readonly experiment: string | null;
  readonly run: string | null;
  readonly client: string | null;
}

const retry = (count: number, error: Error) => !(error instanceof ApiError) && count < 2;

export const metricsQuery = queryOptions({
  queryKey: ["profiler", "metrics"],
  queryFn: async ({ signal }) => (await getJson<{ items: Metric[] }>("profiler/metrics", {}, signal)).items,
  staleTime: Infinity,
  retry,
});

export function answerQuery(range: TimeRange, wish: Wish, refreshMs: number | false) {
  const list = (names: readonly string[] | undefined) => (names && names.length > 0 ? names.join(",") : undefined);
  return queryOptions({
    queryKey: ["profiler", "query", timeRangeText(range), wish],
    queryFn: ({ signal }) =>
      getJson<Answer>(
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
    queryFn: async ({ signal }) =>
      (await getJson<{ items: Note[] }>("profiler/annotations", { ...rangeParams(range) }, signal)).items,
    placeholderData: keepPreviousData,
    refetchInterval: range.kind === "last" ? refreshMs : false,
    retry,
  });
}
