/** What could not be read again although it is in sight: the page goes on to show what it has. */
import { type QueryCache, useQueryClient } from "@tanstack/react-query";
import { useCallback, useSyncExternalStore } from "react";

/** The error of the first query that somebody looks at, has data, and failed when it was last read. */
export function refetchError(cache: QueryCache): Error | null {
  const failed = cache
    .getAll()
    .find((query) => query.isActive() && query.state.status === "error" && query.state.data !== undefined);
  return failed?.state.error ?? null;
}

export function useRefetchError(): Error | null {
  const cache = useQueryClient().getQueryCache();
  const watch = useCallback((changed: () => void) => cache.subscribe(() => queueMicrotask(changed)), [cache]);
  return useSyncExternalStore(watch, () => refetchError(cache));
}
