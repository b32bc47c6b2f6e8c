/** One line a slot: what it trains. Pure. */
import type { ClientView } from "@/api/cluster";
import type { RunView } from "@/api/runs";

export interface Placement {
  readonly slot: string;
  readonly client: string;
  readonly run: string | undefined;
  /** The run that waits on the slot behind it. */
  readonly next: string | undefined;
  readonly view: RunView | undefined;
  /** Of the run's steps that are done. */
  readonly share: number | undefined;
  readonly explanation: string;
}

export function placements(clients: readonly ClientView[], runs: readonly RunView[]): Placement[] {
  const byId = new Map(runs.map((run) => [run.id, run]));
  return clients
    .filter((client) => client.state !== "lost")
    .flatMap((client) =>
      client.slots.map((slot) => {
        const [run, next] = slot.runs;
        const view = run === undefined ? undefined : byId.get(run);
        const share = view && view.current_step / Math.max(view.total_steps, 1);
        return { slot: slot.id, client: client.name, run, next, view, share, explanation: slot.explanation };
      }),
    );
}
