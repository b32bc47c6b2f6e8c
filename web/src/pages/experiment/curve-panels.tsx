/** Curves of loss and of evaluation side by side; what they have in common stands above them. */
import { useQuery } from "@tanstack/react-query";
import { memo, useState } from "react";
import type { ExperimentView } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import { mayAct, whoamiQuery } from "@/api/session";
import { plural } from "@/lib/format";
import { flagCodec, numberCodec, rangeCodec, textCodec, useUrlState } from "@/lib/url-state";
import { allowed } from "@/ops/allowed";
import { CloneDialog } from "@/ops/clone-dialog";
import { Check, Segmented, Slider } from "@/ui/field";
import { Button } from "@/ui/button";
import { toast } from "@/ui/toasts";
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
  /** Why there is none. */
  nothing: string;
  view: RunFilter;
}

interface Start {
  readonly run: RunView;
  readonly step: number;
}

const NAMED_MAX = 6;

function onlyText(runs: readonly string[]): string {
  return `Only ${runs.length > NAMED_MAX ? plural(runs.length, "run") : runs.join(", ")}`;
}

export const CurvePanels = memo(function CurvePanels({ experiment, runs, nothing, view }: CurvePanelsProps) {
  const [axis, setAxis] = useUrlState("x", AXIS);
  const [smoothing, setSmoothing] = useUrlState("smooth", SMOOTHING);
  const [isLog, setLog] = useUrlState("log", flagCodec);
  const [range, setRange] = useUrlState("zoom", rangeCodec);
  const [start, setStart] = useState<Start | null>(null);
  const { data: who } = useQuery(whoamiQuery);
  const [single] = runs.length === 1 ? runs : [];
  const { reason } = allowed("clone", single ? [single] : [], mayAct(who, "operator"));
  const onStart = (step: number) => {
    if (reason !== null) toast({ title: "No clone can start there", text: reason });
    else if (single) setStart({ run: single, step });
  };
  const shared = {
    nothing,
    experiment,
    runs,
    axis,
    smoothing,
    isLog,
    range,
    onRange: setRange,
    onIsolate: view.setOnly,
    onStart,
  };
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
        <Slider label="Smoothing" value={smoothing} max={0.99} step={0.01} onChange={setSmoothing} />
        <Check label="Log scale" checked={isLog} onChange={setLog} />
        {range && <Button onClick={() => setRange(null)}>Reset zoom</Button>}
        {view.only.length > 0 ? (
          <span className={css.only}>
            {onlyText(view.only)}
            <Button onClick={() => view.setOnly([])}>Show all in charts</Button>
          </span>
        ) : (
          <span className={css.note}>Drag to zoom, double click to go back, click a line to show it alone</span>
        )}
      </div>
      <div className={css.pair}>
        <CurvePanel {...shared} title="Loss" param="m1" wanted="loss" pattern={/^(train_)?loss$/} />
        <CurvePanel {...shared} title="Evaluation" param="m2" wanted={experiment.metric.name} pattern={/^eval/} />
      </div>
      {single && <StartPoints run={single} reason={reason} onStart={onStart} />}
      {start && <CloneDialog parents={[start.run]} from={String(start.step)} onClose={() => setStart(null)} />}
    </section>
  );
});
