/** The host, its clients and its queue. */
import { queryOptions } from "@tanstack/react-query";
import { api, taken } from "./client";
import { allPages } from "./experiments";
import type { ClientView, HostView, JobView, WaitingList } from "./schema";

export type { ClientView, HostView, JobView, SlotView, WaitingView } from "./schema";

export const hostQuery = queryOptions({
  queryKey: ["host"],
  queryFn: (): Promise<HostView> => taken(api.GET("/api/v1/host")),
  refetchInterval: 15_000,
});

export const clientsQuery = queryOptions({
  queryKey: ["clients"],
  queryFn: (): Promise<ClientView[]> =>
    allPages((cursor) => taken(api.GET("/api/v1/clients", { params: { query: { limit: 1000, cursor } } }))),
});

export const queueQuery = queryOptions({
  queryKey: ["queue"],
  queryFn: async (): Promise<JobView[]> =>
    (await taken(api.GET("/api/v1/queue", { params: { query: { limit: 200 } } }))).items,
});

/** The first runs that wait for a slot, in the order of their turns. Every chunk changes it: it is read now and then. */
export function waitingQuery(limit: number) {
  return queryOptions({
    queryKey: ["waiting", limit],
    queryFn: (): Promise<WaitingList> => taken(api.GET("/api/v1/queue/runs", { params: { query: { limit } } })),
    refetchInterval: 3_000,
  });
}
