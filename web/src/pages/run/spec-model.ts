/** A run's configuration beside what it was made from. Pure. */
import { formatSetting } from "@/lib/format";
import { asText, type Spec } from "@/ops/clone-model";

export interface SpecRow {
  readonly key: string;
  readonly value: string;
  /** What the experiment's file says for every run. */
  readonly base: string;
  /** `null`: it is no clone, or its parent is not known. */
  readonly parent: string | null;
  readonly differsFromBase: boolean;
  readonly differsFromParent: boolean;
}

/** Every key of the run, those that differ first, then by name. */
export function specRows(spec: Spec, base: Spec, parent: Spec | null): SpecRow[] {
  const keys = [...new Set([...Object.keys(spec), ...Object.keys(base)])];
  return keys
    .map((key): SpecRow => {
      const value = settingOf(spec[key]);
      const before = settingOf(base[key]);
      const parents = parent && settingOf(parent[key]);
      return {
        key,
        value,
        base: before,
        parent: parents,
        differsFromBase: value !== before,
        differsFromParent: parents !== null && value !== parents,
      };
    })
    .sort((a, b) => rank(a) - rank(b) || a.key.localeCompare(b.key));
}

function settingOf(value: unknown): string {
  return formatSetting(asText(value));
}

function rank(row: SpecRow): number {
  return row.differsFromBase || row.differsFromParent ? 0 : 1;
}

/** The experiment's base as a run's spec would be; empty where the document is of another shape. */
export function baseOf(experimentSpec: Readonly<Record<string, unknown>> | undefined): Spec {
  const base = experimentSpec?.base;
  return typeof base === "object" && base !== null ? (base as Spec) : {};
}
