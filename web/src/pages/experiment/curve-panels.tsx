/** Curves of loss and of evaluation side by side; what they have in common stands above them. */
import { memo } from "react";
import type { ExperimentView } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import { flagCodec, numberCodec, rangeCodec, textCodec, useUrlState } from "@/lib/url-state";
import { Check, Segmented } from "@/ui/field";
import { Button } from "@/ui/button";
import type { XAxis } from "./curve-model";
import { CurvePanel } from "./curve-panel";
import css from "./experiment.module.css";
import { StartPoints } from "./start-points";
import type { RunFilter } from "./use-run-filter";

const AXIS = textCodec<XAxis>("step", ["step", "sample", "time"]);
const AXES = [
  { value: "step", label: "Step" },
  { value: "sample", label: "Sample" },
  { value: "time", label: "Time" },
] as const;
const SMOOTHING = numberCodec(0, 0, 0.99);

interface CurvePanelsProps {
  experiment: ExperimentView;
  /** Those that are drawn. */
  runs: readonly RunView[];
  view: RunFilter;
}

export const CurvePanels = memo(function CurvePanels({ experiment, runs, view }: CurvePanelsProps) {
  const [axis, setAxis] = useUrlState("x", AXIS);
  const [smoothing, setSmoothing] = useUrlState("smooth", SMOOTHING);
  const [isLog, setLog] = useUrlState("log", flagCodec);
  const [range, setRange] = useUrlState("zoom", rangeCodec);
  const shared = { experiment, runs, axis, smoothing, isLog, range, onRange: setRange, onIsolate: view.setOnly };
  return (
    <section className={css.curves} aria-label="Curves">
      <div className={css.controls}>
        <Segmented
          label="Horizontal axis"
          value={axis}
          choices={AXES}
          onChange={(next) => {
            setRange(null);
            setAxis(next);
          }}
        />
        <label className={css.slider}>
          Smoothing
          <input
            type="range"
            min={0}
            max={0.99}
            step={0.01}
            value={smoothing}
            onChange={(event) => setSmoothing(Number(event.target.value))}
          />
          <output>{smoothing.toFixed(2)}</output>
        </label>
        <Check label="Log scale" checked={isLog} onChange={setLog} />
        {range && <Button onClick={() => setRange(null)}>Reset zoom</Button>}
        <span className={css.note}>
          {view.only.length > 0
            ? `Only ${view.only.join(", ")}`
            : "Drag to zoom, double click to go back, click a line to show it alone"}
        </span>
      </div>
      <div className={css.pair}>
        <CurvePanel {...shared} title="Loss" param="m1" wanted="loss" pattern={/^(train_)?loss$/} />
        <CurvePanel {...shared} title="Evaluation" param="m2" wanted={experiment.metric.name} pattern={/^eval/} />
      </div>
      {runs.length === 1 && runs[0] && <StartPoints run={runs[0]} />}
    </section>
  );
});
