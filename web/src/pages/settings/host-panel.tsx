import { useQuery } from "@tanstack/react-query";
import { type HostView, hostQuery } from "@/api/cluster";
import { formatBytes, formatDuration, NONE, plural } from "@/lib/format";
import { type Fact, Facts } from "@/ui/facts";
import { ErrorNotice } from "@/ui/notice";
import { Panel } from "@/ui/panel";
import { Progress } from "@/ui/state";
import css from "./settings.module.css";

export function HostPanel() {
  const { data: host, error } = useQuery(hostQuery);
  return (
    <Panel title="Host">
      {error && !host && <ErrorNotice error={error} />}
      {host && <Facts facts={hostFacts(host)} />}
    </Panel>
  );
}

export function JournalPanel() {
  const { data: host } = useQuery(hostQuery);
  return (
    <Panel title="Journal" note="What a start after a crash goes by">
      {host && <Facts facts={journalFacts(host.journal)} />}
    </Panel>
  );
}

export function DisksPanel() {
  const { data: host } = useQuery(hostQuery);
  return <Panel title="Disks">{host && <Disks disks={host.disks} />}</Panel>;
}

function hostFacts(host: HostView): Fact[] {
  return [
    ["Version", host.version],
    ["Address", window.location.host],
    ["Up for", formatDuration(host.uptime_s)],
    ["Clients", `${host.clients} ready, ${host.connected} connected`],
    ["Slots", String(host.slots)],
    ["Open leases", `${host.open_leases} (grants that are neither committed nor over)`],
    ["Open jobs", String(host.open_jobs)],
    [
      "Refused",
      [
        plural(host.refused_reports, "report"),
        plural(host.refused_transfers, "transfer"),
        plural(host.refused_metrics, "metric"),
      ].join(", "),
    ],
    ["Restored", host.epoch === 0 ? "never" : `${plural(host.epoch, "time")} from a backup`],
  ];
}

function journalFacts(journal: HostView["journal"]): Fact[] {
  return [
    ["Newest event", journal.newest_event.toLocaleString("en")],
    ["Oldest kept", journal.oldest_event.toLocaleString("en")],
    ["Lag", `${plural(journal.lag_events, "event")} since the newest snapshot`],
    ["Snapshot", journal.snapshot_age_s === null ? "none yet" : `${formatDuration(journal.snapshot_age_s)} old`],
    ["Last flush", journal.last_flush_ms === null ? NONE : `${journal.last_flush_ms.toFixed(1)} ms`],
    ["Waiting", plural(journal.waiting_events, "event")],
    ["Size", formatBytes(journal.size_bytes)],
  ];
}

function Disks({ disks }: { disks: HostView["disks"] }) {
  return (
    <ul className={css.disks}>
      {Object.entries(disks).map(([name, disk]) => (
        <li key={name}>
          <span className={css.line}>
            <strong>{name}</strong>
            <span className="muted">{disk.path}</span>
            <span
              className={css.end}
            >{`${formatBytes(disk.free_bytes)} free of ${formatBytes(disk.total_bytes)}`}</span>
          </span>
          <Progress
            share={1 - disk.free_bytes / Math.max(1, disk.total_bytes)}
            label={`Used of the disk for ${name}`}
          />
        </li>
      ))}
    </ul>
  );
}
