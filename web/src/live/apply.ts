/** Brings the cache of queries up to date with what events say, without reading more than what changed. */
import type { QueryClient } from "@tanstack/react-query";
import { fetchRun, type RunView } from "@/api/runs";
import { type Dirty, RUNS_ONE_BY_ONE_MAX, staleKeys } from "./dirty";

/** Returns once what is in sight is read again. Lists of runs are cached under ["run-list", experiment]. */
export async function apply(client: QueryClient, dirty: Dirty): Promise<void> {
  const reads = staleKeys(dirty).map((queryKey) => client.invalidateQueries({ queryKey }));
  if (!dirty.everything)
    reads.push(...[...dirty.experiments].map((experiment) => patchList(client, experiment, dirty)));
  await Promise.allSettled(reads);
}

/** Reads the runs that changed; the whole list where it has others now, or where most of it changed. */
async function patchList(client: QueryClient, experiment: string, dirty: Dirty): Promise<void> {
  const queryKey = ["run-list", experiment];
  const listed = client.getQueryData<readonly RunView[]>(queryKey);
  if (listed === undefined) return;
  const known = new Set(listed.map((run) => run.id));
  const changed = [...dirty.runs];
  const isPatch = changed.length > 0 && changed.length <= RUNS_ONE_BY_ONE_MAX && changed.every((run) => known.has(run));
  const fresh = isPatch ? await Promise.all(changed.map(fetchRun)).catch(() => null) : null;
  if (fresh === null) await client.invalidateQueries({ queryKey });
  else client.setQueryData<readonly RunView[]>(queryKey, (runs) => runs && withFresh(runs, fresh));
}

/** The list with some of its runs replaced; the others stay the same objects, so that their rows are not drawn again. */
export function withFresh(runs: readonly RunView[], fresh: readonly RunView[]): readonly RunView[] {
  const byId = new Map(fresh.map((run) => [run.id, run]));
  return runs.map((run) => byId.get(run.id) ?? run);
}
