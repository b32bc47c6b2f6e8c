/** How many runs and slots do what. Pure. */
import type { ClientView } from "@/api/cluster";

export interface Counts {
  readonly ready: number;
  readonly slots: number;
  /** Slots that hold a run, and the runs that are first on one: a gang has several slots. */
  readonly busy: number;
  readonly training: number;
  /** Runs that have their next grant already and wait behind another one on their slot. */
  readonly ahead: readonly Ahead[];
}

export interface Ahead {
  readonly run: string;
  readonly slot: string;
}

/** A lost client's slots count nowhere: what they hold is not known. */
export function countsOf(clients: readonly ClientView[]): Counts {
  const slots = clients.filter((client) => client.state !== "lost").flatMap((client) => client.slots);
  const training = new Set(slots.flatMap((slot) => slot.runs.slice(0, 1)));
  const ahead = slots.flatMap((slot) =>
    slot.runs
      .slice(1)
      .filter((run) => !training.has(run))
      .map((run) => ({ run, slot: slot.id })),
  );
  return {
    ready: clients.filter((client) => client.state === "ready").length,
    slots: slots.length,
    busy: slots.filter((slot) => slot.runs.length > 0).length,
    training: training.size,
    ahead: ahead.filter(({ run }, index) => ahead.findIndex((one) => one.run === run) === index),
  };
}
