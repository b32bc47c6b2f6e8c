/** Operations from the click until they are effective. Pure. */
import type { RunOp, RunView } from "@/api/runs";

export type Phase = "requested" | "acknowledged" | "effective" | "refused";

export interface TrackedOp {
  readonly key: string;
  readonly op: RunOp;
  /** The run that shows when it is effective: of a clone, the new one once it is known. */
  readonly run: string;
  readonly phase: Phase;
  /** What it waits for, or why it was refused. */
  readonly note: string;
  readonly at: number;
}

/** The newest are kept. */
export const TRACKED_MAX = 100;

export type OpEvent =
  | { readonly kind: "asked"; readonly key: string; readonly op: RunOp; readonly run: string; readonly at: number }
  | { readonly kind: "answered"; readonly key: string; readonly view: RunView }
  | { readonly kind: "refused"; readonly key: string; readonly note: string }
  | { readonly kind: "seen"; readonly view: RunView }
  | { readonly kind: "forgotten"; readonly phases: readonly Phase[] };

export function advance(ops: readonly TrackedOp[], event: OpEvent): readonly TrackedOp[] {
  switch (event.kind) {
    case "asked": {
      const { key, op, run, at } = event;
      // A later wish takes the place of one that is not effective yet; a clone changes nothing about its parent.
      const rest = op === "clone" ? ops : ops.filter((one) => one.run !== run || one.op === "clone" || isOver(one));
      return [{ key, op, run, at, phase: "requested" as const, note: "" }, ...rest].slice(0, TRACKED_MAX);
    }
    case "answered":
      return replaced(ops, event.key, (one) => ({ ...one, run: event.view.id, ...progress(one.op, event.view) }));
    case "refused":
      return replaced(ops, event.key, (one) => ({ ...one, phase: "refused", note: event.note }));
    case "seen": {
      const { view } = event;
      if (!ops.some((one) => one.run === view.id && one.phase === "acknowledged")) return ops;
      return ops.map((one) =>
        one.run === view.id && one.phase === "acknowledged" ? { ...one, ...progress(one.op, view) } : one,
      );
    }
    case "forgotten":
      return ops.filter((one) => !event.phases.includes(one.phase));
  }
}

function replaced(ops: readonly TrackedOp[], key: string, change: (one: TrackedOp) => TrackedOp): readonly TrackedOp[] {
  return ops.map((one) => (one.key === key ? change(one) : one));
}

function isOver(one: TrackedOp): boolean {
  return one.phase === "effective" || one.phase === "refused";
}

/** How far an accepted operation is, by the state of its run. */
export function progress(op: RunOp, run: RunView): { phase: Phase; note: string } {
  const done = { phase: "effective", note: "" } as const;
  const waits = (note: string) => ({ phase: "acknowledged", note }) as const;
  const { state } = run;
  switch (op) {
    case "stop":
      return state === "stopping" ? waits("stops at the next step and keeps a checkpoint there") : done;
    case "resume":
    case "clone":
      return state === "queued" ? waits("waits for a slot") : done;
    case "delete":
      return state === "deleting" || state === "deleted" ? done : waits("open grants are taken back");
    case "restore":
      return state === "deleting" ? waits("is being restored") : done;
  }
}
