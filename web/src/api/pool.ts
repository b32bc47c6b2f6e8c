/** The data pool: what the plan refers to, where it is, how large it is. */
import { queryOptions } from "@tanstack/react-query";
import { api, taken } from "./client";
import { allPages } from "./experiments";
import type { PoolFilesView, PoolManifestView, PoolView } from "./schema";

export type { PoolManifestView, PoolTotalView, PoolView } from "./schema";

const REFRESH_MS = 30_000;

export const poolQuery = queryOptions({
  queryKey: ["pool", "totals"],
  queryFn: (): Promise<PoolView> => taken(api.GET("/api/v1/pool")),
  refetchInterval: REFRESH_MS,
});

export const poolManifestsQuery = queryOptions({
  queryKey: ["pool", "manifests"],
  queryFn: (): Promise<PoolManifestView[]> =>
    allPages((cursor) => taken(api.GET("/api/v1/pool/manifests", { params: { query: { limit: 1000, cursor } } }))),
  refetchInterval: REFRESH_MS,
});

/** Names, sizes and digests of a manifest's files; for operators. */
export function poolFilesQuery(manifest: string) {
  return queryOptions({
    queryKey: ["pool", "files", manifest],
    queryFn: (): Promise<PoolFilesView> =>
      taken(api.GET("/api/v1/pool/{manifest}/files", { params: { path: { manifest } } })),
    staleTime: Infinity,
  });
}

/** Where a file's bytes are. */
export function poolFileUrl(manifest: string, name: string): string {
  return `/api/v1/pool/${manifest}/files/${name.split("/").map(encodeURIComponent).join("/")}`;
}
