/** What differs between runs. Pure. */
import type { RunView } from "@/api/runs";
import { asText } from "@/ops/clone-model";

export interface CompareRow {
  readonly key: string;
  readonly values: readonly string[];
}

/** Keys of the configuration whose values are not the same in all of the runs. */
export function differingKeys(runs: readonly RunView[]): CompareRow[] {
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.spec)))].sort();
  return keys
    .map((key) => ({ key, values: runs.map((run) => asText(run.spec[key])) }))
    .filter(({ values }) => new Set(values).size > 1);
}

/** Every metric that some of the runs have. */
export function sharedMetrics(runs: readonly RunView[]): string[] {
  return [...new Set(runs.flatMap((run) => Object.keys(run.metrics)))].sort();
}
