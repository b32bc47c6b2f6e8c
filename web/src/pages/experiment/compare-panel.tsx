import { memo } from "react";
import type { ExperimentView } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import { formatMetric, plural } from "@/lib/format";
import { Panel } from "@/ui/panel";
import { RunSwatch } from "@/ui/state";
import { differingKeys, rowTexts, sharedMetrics } from "./compare-model";
import css from "./experiment.module.css";

const COLUMNS_MAX = 12;

/** Runs side by side: where they differ, and what came of it. */
export const ComparePanel = memo(function ComparePanel(props: {
  experiment: ExperimentView;
  runs: readonly RunView[];
}) {
  const runs = props.runs.slice(0, COLUMNS_MAX);
  const more = props.runs.length - runs.length;
  const metric = props.experiment.metric.name;
  return (
    <Panel
      title="Compare"
      flush
      note={`${plural(runs.length, "run")}${more > 0 ? `, ${more} more are only in the charts` : ""}`}
    >
      <div className={css.scroll}>
        <table className={css.compare}>
          <thead>
            <tr>
              <th scope="col">Differs</th>
              {runs.map((run) => (
                <th key={run.id} scope="col">
                  <RunSwatch run={run.id} /> {run.id}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {differingKeys(runs).map(({ key, values }) => (
              <tr key={key}>
                <th scope="row" className="mono">
                  {key}
                </th>
                {values.map((value, index) => (
                  <td key={runs[index]?.id}>{value || "not set"}</td>
                ))}
              </tr>
            ))}
            <tr>
              <th scope="row">{`best ${metric}`}</th>
              {runs.map((run) => (
                <td key={run.id}>{formatMetric(run.best?.value)}</td>
              ))}
            </tr>
            {sharedMetrics(runs).map((name) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                {rowTexts(runs.map((run) => run.metrics[name])).map((text, index) => (
                  <td key={runs[index]?.id}>{text}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
});
