/** What can be asked of a client as it is now. Pure. */
import type { ClientOp } from "@/api/client-ops";
import type { ClientView } from "@/api/cluster";

/** Why not; `null` where nothing stands against it. */
export function refusalOf(client: ClientView, op: ClientOp, isOperator: boolean, isAdmin: boolean): string | null {
  if (op === "revoke") return isAdmin ? null : "Only administrators end a client's certificate";
  if (!isOperator) return "Viewers change nothing: log in as an operator";
  switch (op) {
    case "drain":
      if (client.state === "lost") return "The client is gone";
      return client.state === "draining" ? "It takes no more work already" : null;
    case "resume":
      return client.state === "draining" ? null : "It takes work already";
    case "disconnect":
      return client.connected ? null : "The client is not connected";
  }
}
