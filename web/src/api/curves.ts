/** One metric of many runs. Curves grow: only those that may have new points are read again. */
import { getJson } from "./client";
import type { RunView } from "./runs";
import type { CurvesView, CurveView } from "./schema";

export type { CurvesView, CurveView } from "./schema";

/** Runs of one request: it fits in an address, and the first curves are there while the others are still read. */
const BATCH = 40;

export interface CurvesWish {
  readonly experiment: string;
  readonly metric: string;
  readonly points: number;
  /** Steps to read, `null` for all. */
  readonly steps: readonly [number, number] | null;
}

/** Curves as they were read. */
export interface KnownCurves extends CurvesView {
  /** By run that had no slot: the step it stood at, and how often its curve was read since. */
  readonly resting?: ReadonlyMap<string, Rest>;
}

interface Rest {
  readonly step: number;
  readonly reads: number;
}

/** Values come a moment after the step that they are of; one that has not come after so many reads never will. */
const RESTING_READS = 3;

/** Reads the curves of `live` runs into `old`; `onPart` has what there is after each request but the last. */
export async function fetchCurves(
  wish: CurvesWish,
  old: KnownCurves | undefined,
  live: readonly string[],
  signal: AbortSignal,
  onPart: (view: KnownCurves) => void,
): Promise<KnownCurves> {
  let view: KnownCurves = old ?? { experiment: wish.experiment, metric: wish.metric, metrics: [], curves: [] };
  for (let at = 0; at < live.length; at += BATCH) {
    if (at > 0) onPart(view);
    view = merged(view, await fetchSome(wish, live.slice(at, at + BATCH), signal));
  }
  return view;
}

function fetchSome(wish: CurvesWish, run: readonly string[], signal: AbortSignal): Promise<CurvesView> {
  const { metric, points, steps } = wish;
  const query = { metric, points, from_step: steps?.[0], to_step: steps?.[1], run };
  return getJson<CurvesView>(`experiments/${wish.experiment}/metrics`, query, signal);
}

/** The old curves with the fresh ones in their places. */
export function merged(old: KnownCurves, fresh: CurvesView): KnownCurves {
  const byRun = new Map(fresh.curves.map((curve) => [curve.run, curve]));
  const kept = old.curves.map((curve) => take(byRun, curve.run) ?? curve);
  return {
    ...old,
    metrics: [...new Set([...old.metrics, ...fresh.metrics])].sort(),
    curves: [...kept, ...byRun.values()],
  };
}

function take(from: Map<string, CurveView>, run: string): CurveView | undefined {
  const found = from.get(run);
  from.delete(run);
  return found;
}

/** Runs whose curve may have grown since it was read. A metric need not have a value at the step where its run came to rest. */
export function liveRuns(curves: KnownCurves | undefined, runs: readonly RunView[]): string[] {
  const newest = new Map(curves?.curves.map((curve) => [curve.run, curve.steps.at(-1)]));
  const isRead = ({ id, current_step }: RunView) => {
    const rest = curves?.resting?.get(id);
    return rest?.step === current_step && rest.reads >= RESTING_READS;
  };
  return runs
    .filter((run) => run.state !== "deleting" && run.state !== "deleted")
    .filter((run) => moves(run) || (run.current_step > (newest.get(run.id) ?? run.first_step) && !isRead(run)))
    .map((run) => run.id);
}

function moves(run: RunView): boolean {
  return run.slot !== null || run.state === "stopping";
}

/** The curves with a note of those that were read of runs at rest. */
export function noted(curves: KnownCurves, read: readonly string[], runs: readonly RunView[]): KnownCurves {
  const resting = new Map(curves.resting);
  const ids = new Set(read);
  for (const run of runs) {
    if (moves(run)) resting.delete(run.id);
    else if (ids.has(run.id)) {
      const before = resting.get(run.id);
      const reads = before?.step === run.current_step ? before.reads : 0;
      resting.set(run.id, { step: run.current_step, reads: reads + 1 });
    }
  }
  return { ...curves, resting };
}
