import { useQuery } from "@tanstack/react-query";
import { alertListQuery } from "@/api/profiler";
import type { AlertList } from "@/api/schema";
import { plural } from "@/lib/format";
import { type Fact, Facts } from "@/ui/facts";
import { ErrorNotice } from "@/ui/notice";
import { Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import css from "./settings.module.css";

/** What is looked for, who is told, and what is wrong now. */
export function AlertsRules() {
  const { data, error } = useQuery(alertListQuery);
  const open = (data?.items ?? []).filter((alert) => alert.until === null);
  return (
    <Panel title="Alerts" note={data && (open.length > 0 ? `${plural(open.length, "alert")} open` : "none open")}>
      {error && !data && <ErrorNotice error={error} />}
      {open.map((alert) => (
        <p key={alert.id} className={css.line}>
          <StateBadge state={alert.severity} text={alert.rule} />
          {alert.text}
        </p>
      ))}
      {data && <Facts facts={facts(data)} />}
      <p className="muted">
        Rules, thresholds, webhook and mail stand in the host's <code>config.yaml</code> under <code>host.alerts</code>;
        a change counts from the host's next start.
      </p>
    </Panel>
  );
}

function facts({ rules, channels }: AlertList): Fact[] {
  const names = (on: boolean) => rules.filter((rule) => rule.is_on === on).map((rule) => rule.rule);
  const off = names(false);
  return [
    ["Looked for", names(true).join(", ")],
    ...(off.length > 0 ? ([["Off", off.join(", ")]] as Fact[]) : []),
    [
      "Told",
      [
        "the host's log",
        "this page",
        ...channels.map(({ name, error }) => (error ? `${name} (fails: ${error})` : name)),
      ].join(", "),
    ],
  ];
}
