/** One client, and what can be asked of it. */
import { queryOptions } from "@tanstack/react-query";
import { api, taken } from "./client";
import type { ClientView } from "./schema";

export function clientQuery(name: string) {
  return queryOptions({
    queryKey: ["client", name, "view"],
    queryFn: (): Promise<ClientView> => taken(api.GET("/api/v1/clients/{name}", { params: { path: { name } } })),
    refetchInterval: 15_000,
  });
}

export type ClientOp = "drain" | "resume" | "disconnect" | "revoke";

export function operateClient(name: string, op: ClientOp): Promise<unknown> {
  const params = { path: { name } };
  switch (op) {
    case "drain":
      return taken(api.POST("/api/v1/clients/{name}/drain", { params }));
    case "resume":
      return taken(api.POST("/api/v1/clients/{name}/resume", { params }));
    case "disconnect":
      return taken(api.POST("/api/v1/clients/{name}/disconnect", { params }));
    case "revoke":
      return taken(api.POST("/api/v1/clients/{name}/revoke", { params }));
  }
}
