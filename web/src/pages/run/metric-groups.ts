/** Which metrics of a run share a chart, and in which order the charts stand. Pure. */
import { smooth } from "@/lib/smoothing";
import type { Curve } from "@/ui/chart/align";

export interface MetricGroup {
  readonly title: string;
  readonly metrics: readonly string[];
}

interface Series {
  readonly metric: string;
  readonly points: readonly (readonly [step: number, value: number | null, at: number])[];
}

const LOSSES: readonly string[] = ["loss", "eval_loss"];
const ORDER = ["learning_rate", "step_time", "tokens", "samples", "grad_norm", "epoch"];

/** Training and evaluation loss are compared, so they share one chart; everything else has its own unit and chart. */
export function groupsOf(metrics: readonly string[]): MetricGroup[] {
  const losses = LOSSES.filter((name) => metrics.includes(name));
  const rest = metrics.filter((name) => !losses.includes(name)).toSorted(byImportance);
  return [
    ...(losses.length > 0 ? [{ title: "Loss", metrics: losses }] : []),
    ...rest.map((name) => ({ title: titleOf(name), metrics: [name] })),
  ];
}

function byImportance(a: string, b: string): number {
  return rank(a) - rank(b) || a.localeCompare(b);
}

/** What an evaluation measured comes first, then what is looked at most. */
function rank(name: string): number {
  if (name.startsWith("eval_")) return -1;
  const place = ORDER.findIndex((prefix) => name.startsWith(prefix));
  return place < 0 ? ORDER.length : place;
}

/** Ends of names that are units. */
const UNITS: Readonly<Record<string, string>> = { _s: "s", _bytes: "bytes", _per_s: "per s" };

export function titleOf(name: string): string {
  const end = Object.keys(UNITS)
    .filter((one) => name.endsWith(one))
    .sort((a, b) => b.length - a.length)[0];
  const words =
    end === undefined
      ? name.replaceAll("_", " ")
      : `${name.slice(0, -end.length).replaceAll("_", " ")} (${UNITS[end]})`;
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Points by step; only lines of training are smoothed, an evaluation's values are few and exact. */
export function curvesOf(series: readonly Series[], group: MetricGroup, smoothing: number): Curve[] {
  return group.metrics.flatMap((metric): Curve[] => {
    const found = series.find((one) => one.metric === metric);
    if (!found || found.points.length === 0) return [];
    const y = found.points.map(([, value]) => value);
    return [
      {
        key: metric,
        x: found.points.map(([step]) => step),
        y: metric.startsWith("eval_") ? y : smooth(y, smoothing),
      },
    ];
  });
}
