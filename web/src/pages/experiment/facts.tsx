import { Link } from "react-router";
import type { ExperimentView } from "@/api/experiments";
import { formatDuration, formatMetric, formatTime } from "@/lib/format";
import { Progress, RunSwatch } from "@/ui/state";
import css from "./experiment.module.css";

/** How far it is and the best so far. */
export function Facts({ experiment }: { experiment: ExperimentView }) {
  const { steps_done, steps_total, best, best_run, eta_s, states } = experiment;
  const counts = Object.entries(states).filter(([state]) => state !== "deleted");
  return (
    <dl className={css.facts}>
      <div>
        <dt>Progress</dt>
        <dd>
          {`${steps_done.toLocaleString("en")} of ${steps_total.toLocaleString("en")} steps`}
          <Progress share={steps_done / Math.max(steps_total, 1)} label="Progress of the experiment" />
        </dd>
      </div>
      <div>
        <dt>Left</dt>
        <dd>{formatDuration(eta_s)}</dd>
      </div>
      <div>
        <dt>Runs</dt>
        <dd>{counts.map(([state, count]) => `${count} ${state}`).join(", ") || "none yet"}</dd>
      </div>
      <div>
        <dt>Best so far</dt>
        <dd>
          {best && best_run ? (
            <span className={css.best} data-testid="best">
              <RunSwatch run={best_run} />
              <Link to={`?only=${best_run}`}>{best_run}</Link>
              {`${best.metric} ${formatMetric(best.value)} at step ${best.step.toLocaleString("en")}`}
            </span>
          ) : (
            "no value yet"
          )}
        </dd>
      </div>
      <div>
        <dt>Submitted</dt>
        <dd>{formatTime(experiment.created_at)}</dd>
      </div>
    </dl>
  );
}
