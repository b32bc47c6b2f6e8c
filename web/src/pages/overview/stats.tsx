import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { clientsQuery, hostQuery } from "@/api/cluster";
import { experimentsQuery } from "@/api/experiments";
import { latestQuery } from "@/api/profiler";
import { formatBytes, formatCompact } from "@/lib/format";
import { LATEST_METRICS, throughput } from "./heat-model";
import css from "./overview.module.css";

/** The numbers that are looked at first. */
export function Stats() {
  const { data: clients = [] } = useQuery(clientsQuery);
  const { data: experiments = [] } = useQuery(experimentsQuery);
  const { data: latest } = useQuery(latestQuery(LATEST_METRICS));
  const { data: host } = useQuery(hostQuery);
  const ready = clients.filter((client) => client.state === "ready");
  const slots = ready.flatMap((client) => client.slots);
  const busy = slots.filter((slot) => slot.runs.length > 0).length;
  const count = (state: string) => experiments.reduce((sum, one) => sum + (one.states[state] ?? 0), 0);
  const { tokens, samples, watts } = throughput(latest);
  return (
    <div className={css.stats}>
      <Stat name="Clients ready" of={`of ${clients.length}`}>
        {ready.length}
      </Stat>
      <Stat name="Slots that train" of={`of ${slots.length}`}>
        {busy}
      </Stat>
      <Stat name="Runs that train">{count("running")}</Stat>
      <Stat name="Runs that wait">{count("queued")}</Stat>
      <Stat name="Tokens" of={tokens === null ? undefined : "a second"}>
        {formatCompact(tokens)}
      </Stat>
      <Stat name="Samples" of={samples === null ? undefined : "a second"}>
        {formatCompact(samples)}
      </Stat>
      <Stat name="GPU power" of={watts === null ? undefined : "W"}>
        {formatCompact(watts)}
      </Stat>
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
