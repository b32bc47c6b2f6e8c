import { useQuery } from "@tanstack/react-query";
import { memo } from "react";
import { type ExperimentView, importanceQuery } from "@/api/experiments";
import { formatPercent, plural } from "@/lib/format";
import { Empty, Panel } from "@/ui/panel";
import { Progress } from "@/ui/state";
import css from "./importance.module.css";

/** Which parameters made the difference between the runs. */
export const ImportancePanel = memo(function ImportancePanel({ experiment }: { experiment: ExperimentView }) {
  const { data } = useQuery(importanceQuery(experiment.id));
  const note = data && `for ${data.metric.name}, of ${plural(data.runs, "run")}`;
  return (
    <Panel title="What made the difference" note={note}>
      {data && data.parameters.length > 0 ? (
        <dl className={css.bars}>
          {data.parameters.map(({ name, share }) => (
            <div key={name} className={css.row}>
              <dt>{name}</dt>
              <dd>
                <span className={css.track}>
                  <Progress share={share} label={name} />
                </span>
                <span className={css.share}>{formatPercent(share)}</span>
              </dd>
            </div>
          ))}
        </dl>
      ) : (
        <Empty title="Nothing can be said yet">
          It takes {data?.runs_min ?? 4} runs with a value that differ in a parameter.
        </Empty>
      )}
    </Panel>
  );
});
