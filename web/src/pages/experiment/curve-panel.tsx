import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import type { ExperimentView } from "@/api/experiments";
import { checkpointsQuery, type RunView } from "@/api/runs";
import { useTheme } from "@/app/theme";
import { formatDuration, formatNumber, plural } from "@/lib/format";
import { runColor, runDashes } from "@/lib/run-color";
import { textCodec, useUrlState } from "@/lib/url-state";
import { align } from "@/ui/chart/align";
import { type Line, LineChart, type Mark } from "@/ui/chart/line-chart";
import { Select } from "@/ui/field";
import { Empty, Panel } from "@/ui/panel";
import { checkpointMarks, firstMetric, type MarkWish, stepsOf, toCurves, type XAxis } from "./curve-model";
import css from "./experiment.module.css";
import { highlight, useHighlight } from "./highlight";
import { useCurves } from "./use-curves";

const CHART_PX = 260;
const CLOCK = "loss";
const NAME = textCodec<string>("");
/** Lines of more runs are thinner. */
const MANY = 30;

interface CurvePanelProps {
  title: string;
  /** The name of its metric in the address. */
  param: string;
  wanted: string;
  pattern: RegExp;
  experiment: ExperimentView;
  runs: readonly RunView[];
  /** Why there is no run. */
  nothing: string;
  axis: XAxis;
  smoothing: number;
  isLog: boolean;
  range: readonly [number, number] | null;
  onRange(range: readonly [number, number] | null): void;
  onIsolate(runs: readonly string[]): void;
  /** A clone shall start from the checkpoint at that step of the one run that is shown. */
  onStart(step: number): void;
}

export function CurvePanel(props: CurvePanelProps) {
  const { experiment, runs, axis, smoothing, isLog, range } = props;
  const theme = useTheme();
  const [chosen, setMetric] = useUrlState(props.param, NAME);
  const devices = Number((experiment.spec.resources as { gpus_per_run?: number } | undefined)?.gpus_per_run ?? 1);
  const [first, setFirst] = useState(props.wanted);
  const metric = chosen || first;
  const [isDense, setDense] = useState(false);
  const steps = isDense ? stepsOf(range, runs, axis, devices) : null;
  const { data, isPending } = useCurves(experiment.id, metric, runs, steps);
  // Evaluations are few: they are all there, and a zoom that read only some of them would cut their lines at its edges.
  const hasTimes = data?.curves.some((curve) => curve.at !== null) ?? false;
  useEffect(() => setDense(hasTimes), [hasTimes]);
  // Evaluations have no times of their own: those of the training steps before them stand for them.
  const { data: clock } = useCurves(experiment.id, axis === "time" ? CLOCK : "", runs, null);
  const metrics = data?.metrics ?? NO_METRICS;
  const { wanted, pattern } = props;
  useEffect(() => setFirst(firstMetric(wanted, metrics, pattern)), [wanted, metrics, pattern]);
  const curves = useMemo(
    () => toCurves(data, runs, { axis, smoothing, isLog, devices, begin: experiment.created_at, clock }),
    [data, runs, axis, smoothing, isLog, devices, experiment.created_at, clock],
  );
  const aligned = useMemo(() => align(curves), [curves]);
  const names = curves.map((curve) => curve.key).join(",");
  const lines = useMemo(() => {
    const drawn = names ? names.split(",") : [];
    const dashes = runDashes(drawn);
    return drawn.map((run): Line => ({
      key: run,
      label: run,
      color: runColor(run, theme),
      dash: dashes.get(run),
      width: drawn.length > MANY ? 1 : 1.75,
    }));
  }, [names, theme]);
  const wish = { axis, devices, begin: experiment.created_at, clock };
  const marks = useCheckpointMarks(runs, wish);
  const highlighted = useHighlight();
  return (
    <Panel
      title={props.title}
      note={plural(curves.length, "run")}
      actions={
        <Select
          label="Metric"
          value={metric}
          choices={[...new Set([metric, ...metrics])].map((name) => ({ value: name, label: name }))}
          onChange={setMetric}
        />
      }
      flush
    >
      {curves.length > 0 ? (
        <LineChart
          label={`${metric} of ${plural(curves.length, "run")} by ${axis}`}
          data={aligned}
          lines={lines}
          height={CHART_PX}
          logY={isLog}
          durationX={axis === "time"}
          range={range}
          onRange={props.onRange}
          highlighted={highlighted}
          onHighlight={highlight}
          onPick={(run) => props.onIsolate([run])}
          marks={marks}
          onMark={(step) => props.onStart(Number(step))}
          formatX={axis === "time" ? formatDuration : formatNumber}
          formatY={formatNumber}
        />
      ) : (
        <div className={css.noCurve}>
          {runs.length === 0 ? (
            <Empty title={props.nothing} />
          ) : (
            !isPending && <Empty title={`No values of ${metric} yet`} />
          )}
        </div>
      )}
    </Panel>
  );
}

const NO_METRICS: readonly string[] = [];
const NO_MARKS: readonly Mark[] = [];

/** Where the one run that is shown has checkpoints to start from. */
function useCheckpointMarks(runs: readonly RunView[], { axis, devices, begin, clock }: MarkWish): readonly Mark[] {
  const [run] = runs.length === 1 ? runs : [];
  const { data } = useQuery({ ...checkpointsQuery(run?.id ?? ""), enabled: run !== undefined });
  return useMemo(
    () => (run && data ? checkpointMarks(run, data, { axis, devices, begin, clock }) : NO_MARKS),
    [run, data, axis, devices, begin, clock],
  );
}
