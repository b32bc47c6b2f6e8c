/** Runs to choose from. */
import { queryOptions } from "@tanstack/react-query";
import { api, taken } from "./client";
import { allPages } from "./experiments";
import type { RunView } from "./schema";

const REFRESH_MS = 20_000;

/** Every run that is not deleted, the newest first. Asked for now and then rather than with every event: it is long. */
export const recentRunsQuery = queryOptions({
  queryKey: ["recent-runs"],
  queryFn: async (): Promise<RunView[]> =>
    (
      await allPages((cursor) => taken(api.GET("/api/v1/runs", { params: { query: { limit: 1000, cursor } } })))
    ).reverse(),
  refetchInterval: REFRESH_MS,
});
