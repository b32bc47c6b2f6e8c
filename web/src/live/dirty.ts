/** From events of the host to what of the page is no longer true. Pure. */

/** One server-sent event of `GET events`. */
export interface HostEvent {
  readonly id: number;
  readonly type: string;
  readonly text: string;
  readonly ids: Readonly<Partial<Record<"run" | "experiment" | "client" | "job" | "parent", string>>>;
  readonly at: number;
}

/** Ids of what has changed since it was last looked at. */
export interface Dirty {
  readonly runs: ReadonlySet<string>;
  readonly experiments: ReadonlySet<string>;
  readonly clients: ReadonlySet<string>;
  readonly jobs: boolean;
  /** Nothing that was read before can be relied on. */
  readonly everything: boolean;
}

export const CLEAN: Dirty = {
  runs: new Set(),
  experiments: new Set(),
  clients: new Set(),
  jobs: false,
  everything: false,
};

/** More changed runs of a flush than this are read as a list. */
export const RUNS_ONE_BY_ONE_MAX = 20;

export function collect(dirty: Dirty, event: HostEvent): Dirty {
  const { run, experiment, client, job } = event.ids;
  return {
    runs: added(dirty.runs, run),
    experiments: added(dirty.experiments, experiment),
    clients: added(dirty.clients, client),
    jobs: dirty.jobs || job !== undefined || event.type === "experiment_submitted" || event.type === "job_requested",
    everything: dirty.everything || event.type === "plan_restored",
  };
}

function added(set: ReadonlySet<string>, one: string | undefined): ReadonlySet<string> {
  return one === undefined || set.has(one) ? set : new Set(set).add(one);
}

export function isClean(dirty: Dirty): boolean {
  return (
    !dirty.everything &&
    !dirty.jobs &&
    dirty.runs.size === 0 &&
    dirty.experiments.size === 0 &&
    dirty.clients.size === 0
  );
}

/** Beginnings of the query keys that are stale now; lists of runs are patched apart, see `apply.ts`. */
export function staleKeys(dirty: Dirty): readonly (readonly string[])[] {
  if (dirty.everything) return [[]];
  const keys: string[][] = [];
  if (dirty.experiments.size > 0) keys.push(["experiments"], ["host"]);
  if (dirty.runs.size > 0 || dirty.experiments.size > 0) keys.push(["runs"]);
  for (const experiment of dirty.experiments) keys.push(["experiment", experiment]);
  for (const run of dirty.runs) keys.push(["run", run]);
  if (dirty.clients.size > 0 || dirty.runs.size > 0) keys.push(["clients"]);
  for (const client of dirty.clients) keys.push(["client", client]);
  if (dirty.jobs) keys.push(["queue"]);
  return keys;
}
