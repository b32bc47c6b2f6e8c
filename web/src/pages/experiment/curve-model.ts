/** From what the API says about runs to lines of a chart. Pure. */
import type { CurvesView, CurveView } from "@/api/curves";
import type { CheckpointView, RunView } from "@/api/runs";
import { smooth } from "@/lib/smoothing";
import type { Curve } from "@/ui/chart/align";
import type { Mark } from "@/ui/chart/plot";

export type XAxis = "step" | "sample" | "time";

/** Rows of the data set that one optimizer step consumes, over all devices of the run. */
export function samplesPerStep(run: RunView, devices: number): number {
  const { per_device_train_batch_size: batch, gradient_accumulation_steps: accumulation } = run.spec;
  return Math.max(1, Number(batch) || 1) * Math.max(1, Number(accumulation) || 1) * devices;
}

export interface CurveWish {
  readonly axis: XAxis;
  /** 0 is none. */
  readonly smoothing: number;
  /** Values of no use on a logarithmic axis are gaps. */
  readonly isLog: boolean;
  /** GPUs that train one run. */
  readonly devices: number;
  /** Seconds since the epoch at which the time axis begins. */
  readonly begin: number;
  /** Curves with times, for those that have none of their own. */
  readonly clock?: CurvesView;
}

export function toCurves(view: CurvesView | undefined, runs: readonly RunView[], wish: CurveWish): Curve[] {
  const byRun = new Map(view?.curves.map((curve) => [curve.run, curve]));
  const clocks = new Map(wish.clock?.curves.map((curve) => [curve.run, curve]));
  return runs.flatMap((run) => {
    const curve = byRun.get(run.id);
    if (!curve || curve.steps.length === 0) return [];
    const values = wish.isLog
      ? curve.values.map((value) => (value !== null && value > 0 ? value : null))
      : curve.values;
    return [{ key: run.id, x: xOf(curve, clocks.get(run.id), run, wish), y: smooth(values, wish.smoothing) }];
  });
}

function xOf(curve: CurveView, clock: CurveView | undefined, run: RunView, wish: CurveWish): number[] {
  switch (wish.axis) {
    case "step":
      return curve.steps;
    case "sample": {
      const each = samplesPerStep(run, wish.devices);
      return curve.steps.map((step) => step * each);
    }
    case "time": {
      const at = curve.at ?? curve.steps.map((step) => timeAt(clock, step) ?? wish.begin);
      // Steps of one batch may be reported out of order by a hair; a chart's axis only grows.
      return ascending(at.map((second) => second - wish.begin));
    }
  }
}

/** When a run was at a step, by the times of the last one before it that is known. */
export function timeAt(clock: CurveView | undefined, step: number): number | null {
  const { steps = [], at } = clock ?? {};
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((steps[middle] as number) <= step) low = middle + 1;
    else high = middle;
  }
  return at?.[Math.max(0, low - 1)] ?? null;
}

export type MarkWish = Pick<CurveWish, "axis" | "devices" | "begin" | "clock">;

/** Where checkpoints of a run stand on the axis; on that of time as far as the times of their steps are known. */
export function checkpointMarks(run: RunView, checkpoints: readonly CheckpointView[], wish: MarkWish): Mark[] {
  const clock = wish.clock?.curves.find((curve) => curve.run === run.id);
  const placeOf = (step: number) => {
    if (wish.axis === "step") return step;
    if (wish.axis === "sample") return step * samplesPerStep(run, wish.devices);
    const at = timeAt(clock, step);
    return at === null ? null : at - wish.begin;
  };
  return checkpoints.flatMap((one) => {
    const at = placeOf(one.step);
    const text = one.best ? "best" : one.latest ? "latest" : "kept";
    const title = `checkpoint of step ${one.step.toLocaleString("en")}, click to start a clone from it`;
    return at === null ? [] : [{ key: String(one.step), at, text, title }];
  });
}

function ascending(values: number[]): number[] {
  let least = -Infinity;
  return values.map((value) => {
    least = Math.max(least, value);
    return least;
  });
}

/** The steps that a shown range stands for, to read them in detail; `null` where one range has no one answer. */
export function stepsOf(
  range: readonly [number, number] | null,
  runs: readonly RunView[],
  axis: XAxis,
  devices: number,
): readonly [number, number] | null {
  if (range === null || axis === "time") return null;
  const per = axis === "step" ? [1] : runs.map((run) => samplesPerStep(run, devices));
  const [least, most] = [Math.min(...per), Math.max(...per)];
  return [Math.max(0, Math.floor(range[0] / most) - 1), Math.ceil(range[1] / least) + 1];
}

/** Which metric a chart shows first: the wanted one where there is such, else the first that may be meant. */
export function firstMetric(wanted: string, metrics: readonly string[], pattern: RegExp): string {
  if (wanted && (metrics.length === 0 || metrics.includes(wanted))) return wanted;
  return metrics.find((metric) => pattern.test(metric)) ?? wanted;
}
