/** Brings the cache of queries up to date with what events say, without reading more than what may have changed. */
import type { Query, QueryClient } from "@tanstack/react-query";
import { refreshed } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import { type Dirty, staleKeys } from "./dirty";

/** Views of single runs that no event names which are read again with a flush, those that were read longest ago first. */
const UNNAMED_MAX = 20;
const VIEWS = ["view", "explain"];

/**
 * Returns once what is in sight is read again. An event names one run and changes others with it, of any experiment: a slot that gets
 * free is the next one's. Lists of runs are cached under ["run-list", experiment].
 */
export async function apply(client: QueryClient, dirty: Dirty): Promise<void> {
  const reads = staleKeys(dirty).map((queryKey) => client.invalidateQueries({ queryKey }));
  if (!dirty.everything) {
    const cache = client.getQueryCache();
    reads.push(...cache.findAll({ queryKey: ["run-list"] }).map((list) => patchList(client, list, dirty)));
    reads.push(readUnnamed(client, dirty));
  }
  await Promise.allSettled(reads);
}

/** A list that nobody looks at is read as a whole once somebody does. */
async function patchList(client: QueryClient, list: Query, dirty: Dirty): Promise<void> {
  const { queryKey } = list;
  const { data: listed, isInvalidated } = list.state as Query<readonly RunView[]>["state"];
  if (listed === undefined) return;
  if (isInvalidated || !list.isActive()) return client.invalidateQueries({ queryKey });
  const named = listed.filter((run) => dirty.runs.has(run.id)).map((run) => run.id);
  const fresh = await refreshed(String(queryKey[1]), listed, named).catch(() => null);
  if (fresh === null) return client.invalidateQueries({ queryKey });
  // What the clock reads at the moment may be older than this.
  await client.cancelQueries({ queryKey });
  client.setQueryData(queryKey, fresh);
}

async function readUnnamed(client: QueryClient, dirty: Dirty): Promise<void> {
  const isView = ({ queryKey: [kind, id, what] }: Query) =>
    VIEWS.includes(String(what)) &&
    (kind === "experiment" ? !dirty.wide : kind === "run" && !dirty.runs.has(String(id)));
  const seen = client.getQueryCache().findAll({ type: "active", predicate: isView });
  const oldest = seen.sort((a, b) => a.state.dataUpdatedAt - b.state.dataUpdatedAt).slice(0, UNNAMED_MAX);
  await Promise.allSettled(oldest.map(({ queryKey }) => client.invalidateQueries({ queryKey, exact: true })));
}
