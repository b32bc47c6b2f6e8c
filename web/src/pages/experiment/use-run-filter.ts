/** Which runs the page shows, by its address: a filter over all, and those that are looked at alone. */
import { useCallback, useMemo, useRef } from "react";
import type { RunView } from "@/api/runs";
import { type Fields, matches, parseFilter } from "@/lib/filter";
import { condensed, expanded, listCodec, textCodec, useUrlState } from "@/lib/url-state";

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
}

export function useRunFilter(runs: readonly RunView[]): RunFilter {
  const [filter, setFilter] = useUrlState("filter", TEXT);
  const [written, write] = useUrlState("only", listCodec);
  const shown = useMemo(() => {
    const parsed = parseFilter(filter);
    return parsed.length > 0 ? runs.filter((run) => matches(parsed, fieldsOf(run))) : runs;
  }, [runs, filter]);
  const ids = useMemo(() => shown.map((run) => run.id), [shown]);
  const only = useMemo(() => expanded(written, ids), [written, ids]);
  // The same function for as long as the page is there: the table's rows are made with it.
  const known = useRef(ids);
  known.current = ids;
  const setOnly = useCallback((wanted: readonly string[]) => write(condensed(wanted, known.current)), [write]);
  const drawn = useMemo(() => {
    const wanted = new Set(only);
    return only.length > 0 ? runs.filter((run) => wanted.has(run.id)) : shown;
  }, [runs, shown, only]);
  return { filter, setFilter, only, setOnly, shown, drawn };
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
