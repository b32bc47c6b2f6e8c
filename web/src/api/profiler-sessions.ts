/** Profiler sessions: named ranges of time with a rate of samples of their own. */
import { queryOptions } from "@tanstack/react-query";
import { ApiError, api, taken } from "./client";
import type { SessionView, SummaryView } from "./schema";

export type { BubbleView, RunSummary, SessionView, SummaryView } from "./schema";

const KEY = ["profiler", "sessions"] as const;
const retry = (count: number, error: Error) => !(error instanceof ApiError) && count < 2;

export const sessionsQuery = queryOptions({
  queryKey: KEY,
  queryFn: async (): Promise<SessionView[]> => (await taken(api.GET("/api/v1/profiler/sessions"))).items,
  refetchInterval: 15_000,
  retry,
});

export function sessionQuery(name: string) {
  return queryOptions({
    queryKey: [...KEY, name, "view"],
    queryFn: (): Promise<SessionView> =>
      taken(api.GET("/api/v1/profiler/sessions/{name}", { params: { path: { name } } })),
    retry,
  });
}

export function summaryQuery(name: string) {
  return queryOptions({
    queryKey: [...KEY, name, "summary"],
    queryFn: (): Promise<SummaryView> =>
      taken(api.GET("/api/v1/profiler/sessions/{name}/summary", { params: { path: { name } } })),
    retry,
  });
}

export function startSession(name: string, intervalS: number): Promise<SessionView> {
  return taken(api.POST("/api/v1/profiler/sessions", { body: { name, interval_s: intervalS } }));
}

export function stopSession(name: string): Promise<SessionView> {
  return taken(api.POST("/api/v1/profiler/sessions/{name}/stop", { params: { path: { name } } }));
}

export function deleteSession(name: string): Promise<SessionView> {
  return taken(api.DELETE("/api/v1/profiler/sessions/{name}", { params: { path: { name } } }));
}

export const EXPORTS = ["csv", "parquet", "json", "html"] as const;

/** The browser fetches it itself, with its own cookie: nothing of it passes through this page. */
export function exportAddress(name: string, format: (typeof EXPORTS)[number]): string {
  return `/api/v1/profiler/sessions/${encodeURIComponent(name)}/export?format=${format}`;
}
