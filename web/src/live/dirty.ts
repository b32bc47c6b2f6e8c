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
  /** A client came or went, or a timer was due: any run may be elsewhere now. */
  readonly wide: boolean;
  /** Nothing that was read before can be relied on. */
  readonly everything: boolean;
}

export const CLEAN: Dirty = {
  runs: new Set(),
  experiments: new Set(),
  clients: new Set(),
  jobs: false,
  wide: false,
  everything: false,
};

export function collect(dirty: Dirty, event: HostEvent): Dirty {
  const { run, experiment, client, job } = event.ids;
  return {
    runs: added(dirty.runs, run),
    experiments: added(dirty.experiments, experiment),
    clients: added(dirty.clients, client),
    jobs: dirty.jobs || job !== undefined || event.type === "experiment_submitted" || event.type === "job_requested",
    wide:
      dirty.wide || event.type === "timer_fired" || (client !== undefined && run === undefined && job === undefined),
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
    !dirty.wide &&
    dirty.runs.size === 0 &&
    dirty.experiments.size === 0 &&
    dirty.clients.size === 0
  );
}

/** Beginnings of the query keys that are stale now; what shows runs that no event names is read again apart, see `apply.ts`. */
export function staleKeys(dirty: Dirty): readonly (readonly string[])[] {
  if (dirty.everything) return [[]];
  const keys: string[][] = [];
  const moved = dirty.wide || dirty.experiments.size > 0;
  if (moved) keys.push(["experiments"], ["host"]);
  if (moved || dirty.runs.size > 0) keys.push(["runs"]);
  if (moved || dirty.runs.size > 0 || dirty.clients.size > 0) keys.push(["clients"]);
  if (dirty.wide) keys.push(["experiment"]);
  else for (const experiment of dirty.experiments) keys.push(["experiment", experiment]);
  for (const run of dirty.runs) keys.push(["run", run]);
  for (const client of dirty.clients) keys.push(["client", client]);
  if (dirty.jobs) keys.push(["queue"]);
  return keys;
}
