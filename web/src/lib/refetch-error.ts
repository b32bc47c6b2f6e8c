/** What could not be read again although it is in sight: the page goes on to show what it has. */
import { type QueryCache, type QueryState, useQueryClient } from "@tanstack/react-query";
import { useCallback, useSyncExternalStore } from "react";
import { ApiError } from "@/api/client";

/** The error of the first query that somebody looks at, has data, and failed when it was last read; the end of a login is told by itself. */
export function refetchError(cache: QueryCache): Error | null {
  const failed = cache.getAll().find((query) => query.isActive() && isOld(query.state));
  return failed?.state.error ?? null;
}

function isOld({ status, data, error }: QueryState): boolean {
  return status === "error" && data !== undefined && !(error instanceof ApiError && error.status === 401);
}

export function useRefetchError(): Error | null {
  const cache = useQueryClient().getQueryCache();
  const watch = useCallback((changed: () => void) => cache.subscribe(() => queueMicrotask(changed)), [cache]);
  return useSyncExternalStore(watch, () => refetchError(cache));
}
