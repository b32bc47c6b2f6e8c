/** Experiments and the runs of one. */
import { queryOptions } from "@tanstack/react-query";
import { api, newRequestKey, taken } from "./client";
import { fetchRun, LIVE_MS, pollOfRuns } from "./runs";
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
    // Events do not tell of single steps.
    refetchInterval: ({ state: { data } }) => (data?.states.running || data?.states.stopping ? LIVE_MS : false),
  });
}

/** Runs in order of submission, deleted ones too. Events patch this list, see `live/apply.ts`; so does the clock while runs train. */
export function runListQuery(experiment: string) {
  return queryOptions({
    queryKey: ["run-list", experiment],
    queryFn: ({ client, queryKey }): Promise<readonly RunView[]> => {
      const state = client.getQueryState<readonly RunView[]>(queryKey);
      return state?.data && !state.isInvalidated ? refreshed(experiment, state.data, []) : allRuns(experiment);
    },
    refetchInterval: pollOfRuns,
  });
}

function allRuns(experiment: string): Promise<RunView[]> {
  return allPages((cursor) =>
    taken(
      api.GET("/api/v1/experiments/{experiment}/runs", {
        params: { path: { experiment }, query: { limit: PAGE, cursor } },
      }),
    ),
  );
}

/** States from which runs come and go without being named by an event: a slot that gets free is another run's. */
const OPEN = ["queued", "running", "stopping", "deleting"] as const;

/** More runs that are not in the list of open ones than this are read with all. */
const ONE_BY_ONE_MAX = 20;

/** The list with its open runs, those that were open, and the named ones read again; all of it where it has others now. */
export async function refreshed(
  experiment: string,
  listed: readonly RunView[],
  named: Iterable<string>,
): Promise<readonly RunView[]> {
  const open = await allPages<RunView>((cursor) =>
    taken(api.GET("/api/v1/runs", { params: { query: { experiment, state: [...OPEN], limit: PAGE, cursor } } })),
  );
  const read = new Set(open.map((run) => run.id));
  const known = new Set(listed.map((run) => run.id));
  const wereOpen = listed.filter((run) => OPEN.some((state) => state === run.state)).map((run) => run.id);
  const rest = [...new Set([...wereOpen, ...named])].filter((run) => !read.has(run));
  if (rest.length > ONE_BY_ONE_MAX || [...read, ...rest].some((run) => !known.has(run))) return allRuns(experiment);
  return withFresh(listed, [...open, ...(await Promise.all(rest.map(fetchRun)))]);
}

/** The list with some of its runs replaced. */
export function withFresh(runs: readonly RunView[], fresh: readonly RunView[]): readonly RunView[] {
  const byId = new Map(fresh.map((run) => [run.id, run]));
  return runs.map((run) => byId.get(run.id) ?? run);
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
