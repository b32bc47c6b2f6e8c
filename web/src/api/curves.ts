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

/** Reads the curves of `live` runs into `old`; `onPart` has what there is after each request but the last. */
export async function fetchCurves(
  wish: CurvesWish,
  old: CurvesView | undefined,
  live: readonly string[],
  signal: AbortSignal,
  onPart: (view: CurvesView) => void,
): Promise<CurvesView> {
  let view = old ?? { experiment: wish.experiment, metric: wish.metric, metrics: [], curves: [] };
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
export function merged(old: CurvesView, fresh: CurvesView): CurvesView {
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

/** Runs whose curve may have grown since it was read. */
export function liveRuns(curves: CurvesView | undefined, runs: readonly RunView[]): string[] {
  const newest = new Map(curves?.curves.map((curve) => [curve.run, curve.steps.at(-1)]));
  return runs
    .filter((run) => run.state !== "deleting" && run.state !== "deleted")
    .filter(
      (run) =>
        run.slot !== null || run.state === "stopping" || run.current_step > (newest.get(run.id) ?? run.first_step),
    )
    .map((run) => run.id);
}
