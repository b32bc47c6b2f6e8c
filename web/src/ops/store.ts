/** The operations of this page since it was opened, and the ways to ask for more. */
import { useSyncExternalStore } from "react";
import { newRequestKey } from "@/api/client";
import {
  type ExperimentOp,
  experimentQuery,
  type ExperimentView,
  operateExperiment,
  runListQuery,
  withFresh,
} from "@/api/experiments";
import { queryClient } from "@/api/query-client";
import { type CloneWish, clone, operate, type RunOp, runQuery, type RunView } from "@/api/runs";
import { plural } from "@/lib/format";
import { toast, toastError } from "@/ui/toasts";
import { advance, type OpEvent, type Subject, type TrackedOp, type View } from "./track";

/** Requests that are under way at a time; a browser has six connections to a host, one of them is the event stream's. */
const AT_ONCE = 4;
const UNDO_MS = 30_000;

let ops: readonly TrackedOp[] = [];
const watchers = new Set<() => void>();

export function dispatch(event: OpEvent): void {
  const next = advance(ops, event);
  if (next === ops) return;
  ops = next;
  for (const watcher of watchers) watcher();
}

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

/** The newest first. */
export function useOps(): readonly TrackedOp[] {
  return useSyncExternalStore(watch, () => ops);
}

const WORDS: Readonly<Record<RunOp, string>> = {
  stop: "stop",
  resume: "resume",
  clone: "clone",
  delete: "delete",
  restore: "restore",
};

/** Asks it of each of the runs; answers those that took it. What is refused is said and shown. */
export async function askAll(op: Exclude<RunOp, "clone">, runs: readonly string[]): Promise<RunView[]> {
  const taken = await inTurns(runs, (run) => ask(op, run, newRequestKey(), () => operate(run, op)));
  if (op === "delete" && taken.length > 0) offerUndo(taken.map((run) => run.id));
  return taken;
}

/** One clone of each parent. `keys`: by parent, the same for every attempt. */
export function cloneAll(
  parents: readonly string[],
  wish: CloneWish,
  keys: ReadonlyMap<string, string>,
): Promise<RunView[]> {
  return inTurns(parents, (parent) => {
    const key = keys.get(parent) ?? newRequestKey();
    return ask("clone", parent, key, () => clone(parent, wish, key));
  });
}

async function ask(op: RunOp, run: string, key: string, send: () => Promise<RunView>): Promise<RunView | null> {
  const seen = await follow(op, { kind: "run", id: run }, key, async () => ({ kind: "run", view: await send() }));
  return seen?.kind === "run" ? seen.view : null;
}

/** Asks it of all of an experiment's runs that can; answers the experiment where the host took it. */
export async function askExperiment(
  op: ExperimentOp,
  { id, name }: Pick<ExperimentView, "id" | "name">,
): Promise<ExperimentView | null> {
  const seen = await follow(op, { kind: "experiment", id, name }, newRequestKey(), async () => ({
    kind: "experiment",
    view: await operateExperiment(id, op),
  }));
  return seen?.kind === "experiment" ? seen.view : null;
}

async function follow(op: RunOp, on: Subject, key: string, send: () => Promise<View>): Promise<View | null> {
  dispatch({ kind: "asked", key, op, on, at: Date.now() / 1000 });
  try {
    const seen = await send();
    const atMs = Date.now();
    await keep(seen);
    dispatch({ kind: "answered", key, seen, atMs });
    return seen;
  } catch (error) {
    dispatch({ kind: "refused", key, note: error instanceof Error ? error.message : String(error) });
    toastError(`Could not ${WORDS[op]} ${on.kind === "run" ? on.id : on.name}`, error);
    return null;
  }
}

/** The answer takes the place of what was read before it, and of what is being read. */
async function keep({ kind, view }: View): Promise<void> {
  if (kind === "experiment") return put(experimentQuery(view.id).queryKey, view);
  await put(runQuery(view.id).queryKey, view);
  const { queryKey } = runListQuery(view.experiment);
  const list = queryClient.getQueryState(queryKey);
  // One that is read as a whole at the moment, for the first time or because it cannot be relied on, stays so.
  if (list?.data && !list.isInvalidated) await put(queryKey, withFresh(list.data, [view]));
}

async function put(queryKey: readonly unknown[], value: unknown): Promise<void> {
  await queryClient.cancelQueries({ queryKey });
  queryClient.setQueryData(queryKey, value);
}

async function inTurns<T>(items: readonly string[], act: (item: string) => Promise<T | null>): Promise<T[]> {
  const waiting = [...items];
  const done: T[] = [];
  const one = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      const result = await act(item);
      if (result !== null) done.push(result);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return done;
}

function offerUndo(runs: readonly string[]): void {
  toast({
    title: runs.length === 1 ? `${runs[0]} is deleted` : `${plural(runs.length, "run")} are deleted`,
    text: "Checkpoints stay until the undo window of the host is over.",
    action: { label: "Undo", onClick: () => void askAll("restore", runs) },
    stayMs: UNDO_MS,
  });
}
