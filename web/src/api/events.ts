/** What happened before the page was opened, as far back as it is asked for. */
import { infiniteQueryOptions } from "@tanstack/react-query";
import { api, taken } from "./client";

export interface EventScope {
  readonly experiment?: string;
  readonly run?: string;
  readonly client?: string;
  readonly job?: string;
  readonly kind?: string[];
}

/** Events that are about all of these, the newest first. A page that is empty is not the last one as long as there is a cursor. */
export function fetchPastEvents(limit: number, scope: EventScope = {}, cursor?: string) {
  return taken(api.GET("/api/v1/events/past", { params: { query: { ...scope, limit, cursor } } }));
}

const PAGE = 1000;

/** Read once: what happens later comes by the event stream. */
export function pastEventsQuery(scope: EventScope) {
  return infiniteQueryOptions({
    queryKey: ["past-events", scope],
    queryFn: ({ pageParam }) => fetchPastEvents(PAGE, scope, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    staleTime: Infinity,
    gcTime: 0,
  });
}
