/** Operations from the click until they are effective. Pure. */
import type { ExperimentView } from "@/api/experiments";
import type { RunOp, RunView } from "@/api/runs";
import { plural } from "@/lib/format";

export type Phase = "requested" | "acknowledged" | "effective" | "refused";

/** What an operation is on. Of a clone: the new run, once it is known. */
export type Subject =
  | { readonly kind: "run"; readonly id: string }
  | { readonly kind: "experiment"; readonly id: string; readonly name: string };

/** What shows how far an operation is. */
export type View =
  { readonly kind: "run"; readonly view: RunView } | { readonly kind: "experiment"; readonly view: ExperimentView };

export interface TrackedOp {
  readonly key: string;
  readonly op: RunOp;
  readonly on: Subject;
  readonly phase: Phase;
  /** What it waits for, or why it was refused. */
  readonly note: string;
  readonly at: number;
  /** When the host answered, in milliseconds: what was read before that knows nothing of it. */
  readonly answeredMs: number;
}

/** The newest are kept. */
export const TRACKED_MAX = 100;

export type OpEvent =
  | { readonly kind: "asked"; readonly key: string; readonly op: RunOp; readonly on: Subject; readonly at: number }
  | { readonly kind: "answered"; readonly key: string; readonly seen: View; readonly atMs: number }
  | { readonly kind: "refused"; readonly key: string; readonly note: string }
  | { readonly kind: "seen"; readonly seen: View; readonly readMs: number }
  | { readonly kind: "forgotten"; readonly phases: readonly Phase[] };

export function advance(ops: readonly TrackedOp[], event: OpEvent): readonly TrackedOp[] {
  switch (event.kind) {
    case "asked": {
      const { key, op, on, at } = event;
      // A later wish takes the place of one that is not effective yet; a clone changes nothing about its parent.
      const rest =
        op === "clone" ? ops : ops.filter((one) => !isOn(one, on.kind, on.id) || one.op === "clone" || isOver(one));
      return [{ key, op, on, at, phase: "requested" as const, note: "", answeredMs: 0 }, ...rest].slice(0, TRACKED_MAX);
    }
    case "answered":
      return replaced(ops, event.key, (one) => ({
        ...one,
        on: subjectOf(event.seen),
        answeredMs: event.atMs,
        ...progressOf(one.op, event.seen),
      }));
    case "refused":
      return replaced(ops, event.key, (one) => ({ ...one, phase: "refused", note: event.note }));
    case "seen": {
      const { seen, readMs } = event;
      const waits = (one: TrackedOp) =>
        one.phase === "acknowledged" && isOn(one, seen.kind, seen.view.id) && readMs >= one.answeredMs;
      if (!ops.some(waits)) return ops;
      return ops.map((one) => (waits(one) ? { ...one, ...progressOf(one.op, seen) } : one));
    }
    case "forgotten":
      return ops.filter((one) => !event.phases.includes(one.phase));
  }
}

function replaced(ops: readonly TrackedOp[], key: string, change: (one: TrackedOp) => TrackedOp): readonly TrackedOp[] {
  return ops.map((one) => (one.key === key ? change(one) : one));
}

/** Whether the operation is on that run or experiment itself. */
export function isOn(one: TrackedOp, kind: Subject["kind"], id: string): boolean {
  return one.on.kind === kind && one.on.id === id;
}

function subjectOf(seen: View): Subject {
  return seen.kind === "run"
    ? { kind: "run", id: seen.view.id }
    : { kind: "experiment", id: seen.view.id, name: seen.view.name };
}

function isOver(one: TrackedOp): boolean {
  return one.phase === "effective" || one.phase === "refused";
}

type Progress = Pick<TrackedOp, "phase" | "note">;

const done: Progress = { phase: "effective", note: "" };
const waits = (note: string): Progress => ({ phase: "acknowledged", note });

function progressOf(op: RunOp, seen: View): Progress {
  return seen.kind === "run" ? progress(op, seen.view) : experimentProgress(op, seen.view);
}

/** The same of an operation on every run of an experiment. */
export function experimentProgress(op: RunOp, { state, states }: Pick<ExperimentView, "state" | "states">): Progress {
  const { stopping = 0, queued = 0, running = 0, deleting = 0 } = states;
  switch (op) {
    case "stop":
      return stopping > 0 ? waits(`${plural(stopping, "run")} still at a step, to keep a checkpoint there`) : done;
    case "resume":
    case "clone":
      return queued > 0 && running === 0 ? waits(`${plural(queued, "run")} wait for a slot`) : done;
    case "delete":
      return state === "deleted" ? done : waits("open grants are taken back");
    case "restore":
      return state === "deleted" || deleting > 0 ? waits("is being restored") : done;
  }
}

/** How far an accepted operation is, by the state of its run. */
export function progress(op: RunOp, run: RunView): Progress {
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
