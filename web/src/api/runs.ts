/** Runs: reading them, and what people ask of them. */
import { queryOptions } from "@tanstack/react-query";
import { api, getJson, newRequestKey, taken } from "./client";
import type { CheckpointView, ExplainView, MetricsView, PlannedCloneView, RunView } from "./schema";

export type { CheckpointView, ExplainView, PlannedCloneView, RunView } from "./schema";

export function fetchRun(run: string): Promise<RunView> {
  return taken(api.GET("/api/v1/runs/{run}", { params: { path: { run } } }));
}

/** Events do not tell of single steps: what trains is read that often. */
export const LIVE_MS = 3000;

/** How often a list of runs is read again without an event. */
export function pollOfRuns({ state }: { state: { data?: readonly RunView[] } }): number | false {
  return state.data?.some((run) => run.slot !== null) ? LIVE_MS : false;
}

export function runQuery(run: string) {
  return queryOptions({ queryKey: ["run", run, "view"], queryFn: () => fetchRun(run) });
}

export function explainQuery(run: string) {
  return queryOptions({
    queryKey: ["run", run, "explain"],
    queryFn: (): Promise<ExplainView> => taken(api.GET("/api/v1/runs/{run}/explain", { params: { path: { run } } })),
  });
}

const EXPLAIN_MS = 10_000;
const COUNTDOWN_MS = 1000;

/** How often the explanation of a run that goes on is read again: of a deleted one it counts the seconds in which it can be restored. */
export function explainEveryMs(run: RunView): number {
  return run.state === "deleting" ? COUNTDOWN_MS : EXPLAIN_MS;
}

export function checkpointsQuery(run: string) {
  return queryOptions({
    queryKey: ["run", run, "checkpoints"],
    queryFn: async (): Promise<CheckpointView[]> =>
      (await taken(api.GET("/api/v1/runs/{run}/checkpoints", { params: { path: { run } } }))).items,
  });
}

export function runMetricsQuery(run: string, metrics: readonly string[], points: number) {
  return queryOptions({
    queryKey: ["run", run, "metrics", metrics, points],
    queryFn: ({ signal }) => getJson<MetricsView>(`runs/${run}/metrics`, { metric: metrics, points }, signal),
  });
}

/** What can be asked of a run; restore takes a deletion back. */
export type RunOp = "stop" | "resume" | "clone" | "delete" | "restore";

export function operate(run: string, op: Exclude<RunOp, "clone">): Promise<RunView> {
  const params = { path: { run }, header: { "idempotency-key": newRequestKey() } };
  switch (op) {
    case "stop":
      return taken(api.POST("/api/v1/runs/{run}/stop", { params }));
    case "resume":
      return taken(api.POST("/api/v1/runs/{run}/resume", { params }));
    case "restore":
      return taken(api.POST("/api/v1/runs/{run}/restore", { params }));
    case "delete":
      return taken(api.DELETE("/api/v1/runs/{run}", { params }));
  }
}

export interface CloneWish {
  readonly set: Record<string, unknown>;
  /** `latest`, `best`, a step, or `null` for a cold clone. */
  readonly warm_start: string | null;
}

/** `key`: the same for every attempt at one clone, so that a second click makes no second run. */
export function clone(run: string, wish: CloneWish, key: string): Promise<RunView> {
  const params = { path: { run }, header: { "idempotency-key": key } };
  return taken(api.POST("/api/v1/runs/{run}/clone", { params, body: wish }));
}

/** Runs in one state, in order of submission: the first `limit` of them. */
export function runsInStateQuery(state: "running" | "queued", limit: number) {
  return queryOptions({
    queryKey: ["runs", state, limit],
    queryFn: async (): Promise<RunView[]> =>
      (await taken(api.GET("/api/v1/runs", { params: { query: { state: [state], limit } } }))).items,
    refetchInterval: pollOfRuns,
  });
}

/** What a clone would be, or an ApiError that says why there can be none. */
export function validateClone(run: string, wish: CloneWish): Promise<PlannedCloneView> {
  return taken(api.POST("/api/v1/runs/{run}/clone/validate", { params: { path: { run } }, body: wish }));
}
