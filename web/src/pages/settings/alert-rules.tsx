import { useQuery } from "@tanstack/react-query";
import { ApiError } from "@/api/client";
import { alertsQuery } from "@/api/profiler";
import { plural } from "@/lib/format";
import { ErrorNotice } from "@/ui/notice";
import { Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import css from "./settings.module.css";

/** Rules live in the host's configuration; here stands what they say now. */
export function AlertsRules() {
  const { data, error } = useQuery(alertsQuery);
  const open = (data ?? []).filter((alert) => alert.until === null);
  const isMissing = error instanceof ApiError && error.status === 404;
  return (
    <Panel title="Alerts" note={data && (open.length > 0 ? `${plural(open.length, "alert")} open` : "none open")}>
      {error && !isMissing && <ErrorNotice error={error} />}
      {open.map((alert) => (
        <p key={`${alert.rule} ${alert.client} ${alert.device} ${alert.run}`} className={css.line}>
          <StateBadge state={alert.severity} text={alert.rule} />
          {alert.text}
        </p>
      ))}
      <p className="muted">
        {isMissing ? "This host watches no alerts. " : ""}
        Rules, thresholds, webhook and mail stand in the host's <code>config.yaml</code> under <code>host.alerts</code>;
        a change counts from the host's next start.
      </p>
    </Panel>
  );
}
