import type { ClientView } from "@/api/cluster";
import { formatAgo, formatBytes, formatDuration, formatNumber, formatPercent, formatTime, NONE } from "@/lib/format";
import { type Reading, shareOf } from "@/pages/clients/client-model";
import { stateLook, stateOf } from "@/pages/clients/columns";
import { type Fact, Facts } from "@/ui/facts";
import { Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import css from "./client.module.css";

/** Who it is. */
export function AboutPanel({ client }: { client: ClientView }) {
  return (
    <Panel title="Client">
      <Facts facts={aboutFacts(client)} />
    </Panel>
  );
}

function aboutFacts(client: ClientView): Fact[] {
  const labels = Object.entries(client.labels);
  return [
    ["State", <StateBadge state={stateLook({ client })} text={stateOf({ client })} />],
    ...(client.state === "lost"
      ? ([
          ["Lost", formatTime(client.lost_at)],
          ["Why", client.lost_reason || NONE],
        ] as Fact[])
      : []),
    ["Registered", formatTime(client.registered_at)],
    ["Version", client.version],
    [
      "Labels",
      labels.length === 0 ? (
        NONE
      ) : (
        <span className={css.labels}>
          {labels.map(([name, value]) => (
            <code key={name}>{`${name}=${value}`}</code>
          ))}
        </span>
      ),
    ],
    ["Certificate", certificate(client)],
  ];
}

function certificate({ certificate_expires_at: end, connected }: ClientView): string {
  if (end !== null) return `ends ${formatTime(end)}; the client renews it before`;
  return connected ? "none" : NONE;
}

/** How the machine fares, by its newest samples. */
export function MachinePanel({ reading, now }: { reading: Reading | undefined; now: number }) {
  return (
    <Panel title="Machine" note={reading && `read ${formatAgo(reading.at, now)}`}>
      {reading ? <Facts facts={machineFacts(reading.values)} /> : <p className="muted">It has sent no samples yet.</p>}
    </Panel>
  );
}

function machineFacts(values: Reading["values"]): Fact[] {
  const perSecond = (value: number | null | undefined) =>
    typeof value === "number" ? `${formatBytes(value)}/s` : NONE;
  const memory = shareOf(values.memory_used, values.memory_total);
  return [
    ["CPU", formatPercent(values.cpu_utilization)],
    ["Load", formatNumber(values.load_1m)],
    [
      "Memory",
      memory === undefined
        ? NONE
        : `${formatBytes(values.memory_used)} of ${formatBytes(values.memory_total)}, ${formatPercent(memory)}`,
    ],
    ["Swap", formatBytes(values.swap_used)],
    ["Disk", `${formatBytes(values.disk_free)} free of ${formatBytes(values.disk_total)}`],
    ["Network", `${perSecond(values.network_rx)} in, ${perSecond(values.network_tx)} out`],
    ["Clock", typeof values.clock_offset === "number" ? offset(values.clock_offset) : NONE],
    ["Samples lost", formatNumber(values.samples_lost)],
  ];
}

function offset(seconds: number): string {
  const size = formatDuration(Math.abs(seconds));
  if (Math.abs(seconds) < 1e-3) return "in step with the host";
  return seconds > 0 ? `${size} behind the host` : `${size} ahead of the host`;
}
