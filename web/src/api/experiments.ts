/** Experiments and the runs of one. */
import { queryOptions } from "@tanstack/react-query";
import { api, newRequestKey, taken } from "./client";
import type { ExperimentView, ImportanceView, RunView, TimelineView } from "./schema";

export type { ExperimentView, TimelineView } from "./schema";

const PAGE = 1000;

interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

/** Every item of a list, page after page. */
export async function allPages<T>(page: (cursor: string | undefined) => Promise<Page<T>>): Promise<T[]> {
  const items: T[] = [];
  for (let cursor: string | undefined; ;) {
    const answer = await page(cursor);
    items.push(...answer.items);
    if (!answer.next_cursor) return items;
    cursor = answer.next_cursor;
  }
}

export const experimentsQuery = queryOptions({
  queryKey: ["experiments"],
  queryFn: (): Promise<ExperimentView[]> =>
    allPages((cursor) => taken(api.GET("/api/v1/experiments", { params: { query: { limit: PAGE, cursor } } }))),
});

/** Deleted ones, as long as they can be restored. */
export const restorableQuery = queryOptions({
  queryKey: ["experiments", "restorable"],
  queryFn: (): Promise<ExperimentView[]> =>
    allPages((cursor) =>
      taken(api.GET("/api/v1/experiments", { params: { query: { restorable: true, limit: PAGE, cursor } } })),
    ),
});

export function experimentQuery(experiment: string) {
  return queryOptions({
    queryKey: ["experiment", experiment, "view"],
    queryFn: (): Promise<ExperimentView> =>
      taken(api.GET("/api/v1/experiments/{experiment}", { params: { path: { experiment } } })),
  });
}

/** Runs in order of submission, deleted ones too. Events patch this list, see `live/apply.ts`. */
export function runListQuery(experiment: string) {
  return queryOptions({
    queryKey: ["run-list", experiment],
    queryFn: (): Promise<readonly RunView[]> =>
      allPages((cursor) =>
        taken(
          api.GET("/api/v1/experiments/{experiment}/runs", {
            params: { path: { experiment }, query: { limit: PAGE, cursor } },
          }),
        ),
      ),
  });
}

export function importanceQuery(experiment: string) {
  return queryOptions({
    queryKey: ["experiment", experiment, "importance"],
    queryFn: (): Promise<ImportanceView> =>
      taken(api.GET("/api/v1/experiments/{experiment}/importance", { params: { path: { experiment } } })),
  });
}

export function timelineQuery(experiment: string) {
  return queryOptions({
    queryKey: ["experiment", experiment, "timeline"],
    queryFn: (): Promise<TimelineView> =>
      taken(api.GET("/api/v1/experiments/{experiment}/timeline", { params: { path: { experiment } } })),
  });
}

export type ExperimentOp = "stop" | "resume" | "delete" | "restore";

/** Asks it of every run that can. */
export function operateExperiment(experiment: string, op: ExperimentOp): Promise<ExperimentView> {
  const params = { path: { experiment }, header: { "idempotency-key": newRequestKey() } };
  switch (op) {
    case "stop":
      return taken(api.POST("/api/v1/experiments/{experiment}/stop", { params }));
    case "resume":
      return taken(api.POST("/api/v1/experiments/{experiment}/resume", { params }));
    case "restore":
      return taken(api.POST("/api/v1/experiments/{experiment}/restore", { params }));
    case "delete":
      return taken(api.DELETE("/api/v1/experiments/{experiment}", { params }));
  }
}
