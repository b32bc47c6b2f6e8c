import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { experimentsQuery } from "@/api/experiments";
import { formatDuration, formatMetric, plural } from "@/lib/format";
import { Empty, Panel } from "@/ui/panel";
import { Progress, StateBadge } from "@/ui/state";
import css from "./overview.module.css";

const SHOWN_MAX = 8;

/** Experiments that are under way. */
export function ActivePanel() {
  const { data } = useQuery(experimentsQuery);
  const active = (data ?? []).filter((one) => one.state === "active" || one.state === "preparing");
  return (
    <Panel title="Experiments under way" flush actions={<Link to="/experiments">All</Link>}>
      {active.length > 0 ? (
        <ul className={css.list}>
          {active.slice(0, SHOWN_MAX).map((one) => (
            <li key={one.id}>
              <span className={css.line}>
                <Link to={`/experiments/${one.id}`}>{one.name}</Link>
                <StateBadge state={one.state} />
                <span className={`muted ${css.end}`}>{one.eta_s !== null && `${formatDuration(one.eta_s)} left`}</span>
              </span>
              <Progress share={one.steps_done / Math.max(one.steps_total, 1)} label={`Progress of ${one.name}`} />
              <span className="muted">
                {plural(one.runs, "run")}
                {one.best && `, best ${one.best.metric} ${formatMetric(one.best.value)} by ${one.best_run}`}
              </span>
            </li>
          ))}
        </ul>
      ) : (
        <Empty title="Nothing is under way" />
      )}
    </Panel>
  );
}
