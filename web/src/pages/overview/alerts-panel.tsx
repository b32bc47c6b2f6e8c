import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { type Alert, alertsQuery } from "@/api/profiler";
import { ApiError } from "@/api/client";
import { formatAgo, plural } from "@/lib/format";
import { useNow } from "@/lib/use-now";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import css from "./overview.module.css";

const RANK = { critical: 0, warning: 1, info: 2 } as const;
const CLOCK_MS = 5_000;

/** What needs somebody's attention, the worst first. */
export function AlertsPanel() {
  const { data, error } = useQuery(alertsQuery);
  const now = useNow(CLOCK_MS);
  const open = (data ?? []).filter((alert) => alert.until === null);
  const sorted = open.sort((a, b) => RANK[a.severity] - RANK[b.severity] || b.since - a.since);
  // A host without the profiler has no alerts; that is no failure of this page.
  const isMissing = error instanceof ApiError && error.status === 404;
  return (
    <Panel title="Alerts" className={css.first} flush note={open.length > 0 && plural(open.length, "open alert")}>
      {error && !data && !isMissing && <ErrorNotice error={error} />}
      {sorted.length > 0 ? (
        <ul className={css.list}>
          {sorted.map((alert) => (
            <AlertLine key={`${alert.rule} ${alert.client} ${alert.device} ${alert.run}`} alert={alert} now={now} />
          ))}
        </ul>
      ) : (
        <Empty title={isMissing ? "This host watches no alerts" : "No open alerts"} />
      )}
    </Panel>
  );
}

function AlertLine({ alert, now }: { alert: Alert; now: number }) {
  return (
    <li>
      <span className={css.line}>
        <StateBadge state={alert.severity} />
        <span>{alert.rule}</span>
        <span className={`muted ${css.end}`}>{formatAgo(alert.since, now)}</span>
      </span>
      <span>{alert.text}</span>
      <span className={css.line}>
        {alert.client && <Link to={`/clients/${alert.client}`}>{alert.client}</Link>}
        {alert.run && <Link to={`/runs/${alert.run}`}>{alert.run}</Link>}
      </span>
    </li>
  );
}
