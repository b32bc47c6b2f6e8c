/** What differs between runs. Pure. */
import type { RunView } from "@/api/runs";
import { formatMetric, formatSetting, NONE } from "@/lib/format";
import { asText } from "@/ops/clone-model";

export interface CompareRow {
  readonly key: string;
  readonly values: readonly string[];
}

/** Keys of the configuration whose values are not the same in all of the runs. */
export function differingKeys(runs: readonly RunView[]): CompareRow[] {
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.spec)))].sort();
  return keys
    .map((key) => ({ key, values: runs.map((run) => formatSetting(asText(run.spec[key]))) }))
    .filter(({ values }) => new Set(values).size > 1);
}

/** Every metric that some of the runs have. */
export function sharedMetrics(runs: readonly RunView[]): string[] {
  return [...new Set(runs.flatMap((run) => Object.keys(run.metrics)))].sort();
}

const LARGE = 1000;

/** One metric of several runs in one style: whole numbers and large ones in groups of three digits, others as metrics are. */
export function rowTexts(values: readonly (number | null | undefined)[]): string[] {
  const known = values.filter((value) => typeof value === "number" && Number.isFinite(value)) as number[];
  const digits = known.every(Number.isInteger) ? 0 : known.some((value) => Math.abs(value) >= LARGE) ? 1 : null;
  return values.map((value) => {
    if (typeof value !== "number" || !Number.isFinite(value)) return NONE;
    if (digits === null) return formatMetric(value);
    return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  });
}
