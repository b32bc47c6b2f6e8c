/** Which runs the page shows, by its address: a filter over all, and those that are looked at alone. */
import { useMemo } from "react";
import type { RunView } from "@/api/runs";
import { type Fields, type Filter, matches, parseFilter } from "@/lib/filter";
import { textCodec, useUrlState } from "@/lib/url-state";
import { useRunIds } from "./use-run-ids";

const TEXT = textCodec<string>("");

export interface RunFilter {
  readonly filter: string;
  setFilter(text: string): void;
  /** Runs that are looked at alone; none means all. */
  readonly only: readonly string[];
  setOnly(runs: readonly string[]): void;
  /** What passes the filter. */
  readonly shown: readonly RunView[];
  /** What charts draw: of those, the ones that are looked at alone. */
  readonly drawn: readonly RunView[];
  /** Why none does. */
  readonly nothing: string;
}

export function useRunFilter(runs: readonly RunView[]): RunFilter {
  const [filter, setFilter] = useUrlState("filter", TEXT);
  const parsed = useMemo(() => parseFilter(filter), [filter]);
  const shown = useMemo(
    () => (parsed.length > 0 ? runs.filter((run) => matches(parsed, fieldsOf(run))) : runs),
    [runs, parsed],
  );
  const nothing = useMemo(() => nothingText(parsed, runs), [parsed, runs]);
  const ids = useMemo(() => shown.map((run) => run.id), [shown]);
  const [only, setOnly] = useRunIds("only", ids);
  const drawn = useMemo(() => {
    const wanted = new Set(only);
    return only.length > 0 ? runs.filter((run) => wanted.has(run.id)) : shown;
  }, [runs, shown, only]);
  return { filter, setFilter, only, setOnly, shown, drawn, nothing };
}

/** Why no run passes the filter. */
export function nothingText(filter: Filter, runs: readonly RunView[]): string {
  const known = new Set(runs.flatMap((run) => Object.keys(fieldsOf(run)).map((field) => field.toLowerCase())));
  const unknown = filter.find((term) => term.field !== null && !known.has(term.field));
  return unknown ? `No run has a field ${unknown.field}` : "No run matches the filter";
}

/**
 * What a filter may ask about a run: `state:running lr>1e-4 slot:left`. A parameter is what it was set to: training reports some of the
 * same name, as the learning rate of the moment.
 */
export function fieldsOf(run: RunView): Fields {
  return {
    ...run.metrics,
    ...run.changes,
    id: run.id,
    name: run.name,
    state: run.state,
    slot: run.slot,
    step: run.current_step,
    best: run.best?.value,
    parent: run.parent,
    lr: typeof run.spec.learning_rate === "number" ? run.spec.learning_rate : null,
  };
}

/** Runs that are not deleted. */
export function alive(runs: readonly RunView[]): readonly RunView[] {
  return runs.some((run) => run.state === "deleting") ? runs.filter((run) => run.state !== "deleting") : runs;
}
