/** Who is logged in. */
import { queryOptions } from "@tanstack/react-query";
import { ApiError, api, taken } from "./client";
import type { PrincipalView } from "./schema";

export type { PrincipalView } from "./schema";

/** `null` while nobody is. */
export const whoamiQuery = queryOptions({
  queryKey: ["whoami"],
  queryFn: async (): Promise<PrincipalView | null> => {
    try {
      return await taken(api.GET("/api/v1/auth/whoami"));
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return null;
      throw error;
    }
  },
  staleTime: Infinity,
});

export function logIn(token: string): Promise<PrincipalView> {
  return taken(api.POST("/api/v1/auth/login", { body: { token: token.trim() } }));
}

export function logOut(): Promise<PrincipalView> {
  return taken(api.POST("/api/v1/auth/logout"));
}

export type Role = "viewer" | "operator" | "admin";
const RANKS: readonly string[] = ["viewer", "operator", "admin"];

export function mayAct(who: PrincipalView | null | undefined, least: Role): boolean {
  return RANKS.indexOf(who?.role ?? "") >= RANKS.indexOf(least);
}
