import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { clientsQuery, hostQuery } from "@/api/cluster";
import { experimentsQuery } from "@/api/experiments";
import { latestQuery } from "@/api/profiler";
import { formatBytes, formatCompact } from "@/lib/format";
import { LATEST_METRICS, throughput } from "./heat-model";
import css from "./overview.module.css";
import { countsOf } from "./stats-model";

/** The numbers that are looked at first. */
export function Stats() {
  const { data: clients = [] } = useQuery(clientsQuery);
  const { data: experiments = [] } = useQuery(experimentsQuery);
  const { data: latest } = useQuery(latestQuery(LATEST_METRICS));
  const { data: host } = useQuery(hostQuery);
  const { ready, slots, busy, training, ahead } = countsOf(clients);
  const queued = experiments.reduce((sum, one) => sum + (one.states.queued ?? 0), 0);
  const { tokens, samples, watts } = throughput(latest, clients);
  return (
    <div className={css.stats}>
      <Stat name="Clients ready" of={`of ${clients.length}`}>
        {ready}
      </Stat>
      <Stat name="Slots that train" of={`of ${slots}`}>
        {busy}
      </Stat>
      <Stat name="Runs that train">{training}</Stat>
      <Stat name="Runs that wait">{queued + ahead.length}</Stat>
      <Stat name="Tokens a second">{formatCompact(tokens)}</Stat>
      <Stat name="Samples a second">{formatCompact(samples)}</Stat>
      <Stat name="GPU power">{formatCompact(watts, "W")}</Stat>
      <Stat name="Pool disk free">{formatBytes(host?.disks.pool?.free_bytes)}</Stat>
    </div>
  );
}

function Stat({ name, of, children }: { name: string; of?: string; children: ReactNode }) {
  return (
    <dl className={css.stat}>
      <dt>{name}</dt>
      <dd>
        {children}
        {of && <small>{of}</small>}
      </dd>
    </dl>
  );
}
