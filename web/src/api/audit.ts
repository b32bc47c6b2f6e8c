/** Who changed what, and who was not let in. For administrators. */
import { infiniteQueryOptions } from "@tanstack/react-query";
import { api, taken } from "./client";

export type { AuditView } from "./schema";
export type AuditKind = "writes" | "refusals";

const PAGE = 200;
const REFRESH_MS = 10_000;

/** The newest first, page after page. */
export function auditQuery(kind: AuditKind) {
  return infiniteQueryOptions({
    queryKey: ["audit", kind],
    queryFn: ({ pageParam }) =>
      taken(api.GET("/api/v1/audit", { params: { query: { kind, limit: PAGE, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    staleTime: 5_000,
    // Every page that is shown is read again: of more pages less often.
    refetchInterval: ({ state }) => REFRESH_MS * Math.max(1, state.data?.pages.length ?? 1),
  });
}
