/** Tokens: who may speak to the host, and which machines may join. For administrators. */
import { queryOptions } from "@tanstack/react-query";
import { api, taken } from "./client";
import { allPages } from "./experiments";
import type { NewTokenView, RevokedTokenView, TokenRequest, TokenView } from "./schema";

export type { NewTokenView, TokenRequest, TokenView } from "./schema";

/** The newest first, ended ones too. */
export const tokensQuery = queryOptions({
  queryKey: ["tokens"],
  queryFn: (): Promise<TokenView[]> =>
    allPages((cursor) => taken(api.GET("/api/v1/tokens", { params: { query: { limit: 1000, cursor } } }))),
  refetchInterval: 10_000,
});

export function createToken(body: TokenRequest): Promise<NewTokenView> {
  return taken(api.POST("/api/v1/tokens", { body }));
}

export function revokeToken(token: string): Promise<RevokedTokenView> {
  return taken(api.DELETE("/api/v1/tokens/{token}", { params: { path: { token } } }));
}
