/** Which of the chosen runs an operation is possible for, and why for none of them. Pure. */
import type { RunOp, RunView } from "@/api/runs";

const NAMED_MAX = 3;

export interface Allowed {
  readonly runs: readonly RunView[];
  /** `null` where it is possible for at least one. */
  readonly reason: string | null;
}

export function allowed(op: RunOp, chosen: readonly RunView[], mayAct: boolean): Allowed {
  const none = (reason: string) => ({ runs: [], reason });
  if (!mayAct) return none("Your token may only look; an operator's may do this");
  if (chosen.length === 0) return none("Choose runs in the table first");
  const runs = chosen.filter((run) => run.possible.includes(op));
  return runs.length > 0 ? { runs, reason: null } : none(refusal(op, chosen));
}

function refusal(op: RunOp, chosen: readonly RunView[]): string {
  const named = chosen.slice(0, NAMED_MAX).map((run) => `${run.id}: ${run.refused[op] ?? "not possible now"}`);
  const more = chosen.length - named.length;
  return named.join("; ") + (more > 0 ? `; and ${more} more` : "");
}
