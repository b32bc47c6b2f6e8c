import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { checkpointsQuery, runMetricsQuery, type RunView } from "@/api/runs";
import { useTheme } from "@/app/theme";
import { formatNumber, plural } from "@/lib/format";
import { runColor, type Theme } from "@/lib/run-color";
import { flagCodec, numberCodec, rangeCodec, useUrlState } from "@/lib/url-state";
import { align } from "@/ui/chart/align";
import { type Line, LineChart, type Mark } from "@/ui/chart/line-chart";
import { Button } from "@/ui/button";
import { Check, Slider } from "@/ui/field";
import { Empty, Panel } from "@/ui/panel";
import { curvesOf, groupsOf, type MetricGroup } from "./metric-groups";
import css from "./run.module.css";

const POINTS = 1500;
const LIVE_MS = 2000;
const CHART_PX = 170;
const SMOOTH = numberCodec(0, 0, 0.99);
const NO_METRICS: readonly string[] = [];
/** Evaluation over training in one chart: told apart by colour and dashes. */
const EVAL_DASH = [6, 3];
const EVAL_INK: Readonly<Record<Theme, string>> = { light: "#1a1f27", dark: "#e6e9ee" };

interface Look {
  readonly range: readonly [number, number] | null;
  setRange(range: readonly [number, number] | null): void;
  readonly smoothing: number;
  readonly isLog: boolean;
}

/** Everything that the run measured, by step, with one crosshair. */
export function CurvesPanel({ run }: { run: RunView }) {
  const [range, setRange] = useUrlState("steps", rangeCodec);
  const [smoothing, setSmoothing] = useUrlState("smooth", SMOOTH);
  const [isLog, setLog] = useUrlState("log", flagCodec);
  const isLive = run.slot !== null || run.state === "running" || run.state === "stopping";
  const { data } = useQuery({
    ...runMetricsQuery(run.id, NO_METRICS, POINTS),
    refetchInterval: isLive ? LIVE_MS : false,
    placeholderData: keepPreviousData,
  });
  const names = data?.metrics.join(",") ?? "";
  const groups = useMemo(() => groupsOf(names ? names.split(",") : []), [names]);
  const marks = useMarks(run);
  return (
    <Panel
      title="Curves"
      note={data && plural(data.metrics.length, "metric")}
      flush
      actions={
        <>
          <Slider label="Smoothing" value={smoothing} max={0.99} step={0.01} onChange={setSmoothing} />
          <Check label="Log scale" checked={isLog} onChange={setLog} />
          {range && <Button onClick={() => setRange(null)}>All steps</Button>}
        </>
      }
    >
      {groups.length > 0 && data ? (
        <div className={css.charts}>
          {groups.map((group) => (
            <MetricChart
              key={group.title}
              group={group}
              run={run}
              series={data.series}
              marks={marks}
              look={{ range, setRange, smoothing, isLog }}
            />
          ))}
        </div>
      ) : (
        data && <Empty title="It has measured nothing yet" />
      )}
    </Panel>
  );
}

interface MetricChartProps {
  group: MetricGroup;
  run: RunView;
  series: Parameters<typeof curvesOf>[0];
  marks: readonly Mark[];
  look: Look;
}

function MetricChart({ group, run, series, marks, look }: MetricChartProps) {
  const theme = useTheme();
  const { range, setRange, smoothing, isLog } = look;
  const curves = useMemo(() => curvesOf(series, group, smoothing), [series, group, smoothing]);
  const data = useMemo(() => align(curves), [curves]);
  const keys = curves.map((curve) => curve.key).join(",");
  const lines = useMemo(
    () =>
      (keys ? keys.split(",") : []).map((metric): Line => {
        const isSecond = group.metrics.length > 1 && metric.startsWith("eval_");
        return {
          key: metric,
          label: metric,
          color: isSecond ? EVAL_INK[theme] : runColor(run.id, theme),
          dash: isSecond ? EVAL_DASH : [],
          width: isSecond ? 2 : 1.5,
          dotted: metric.startsWith("eval_"),
        };
      }),
    [keys, group, run.id, theme],
  );
  const newest = group.metrics
    .map((metric) => ({ metric, value: run.metrics[metric] }))
    .filter((one) => one.value !== undefined);
  return (
    <figure className={css.chart}>
      <figcaption>
        <h3>{group.title}</h3>
        <span className={css.newest}>
          {newest.map(({ metric, value }) => (
            <span key={metric}>
              {group.metrics.length > 1 && <span className="muted">{metric} </span>}
              {valueText(value)}
            </span>
          ))}
        </span>
      </figcaption>
      <LineChart
        label={`${group.metrics.join(" and ")} of ${run.id} by step`}
        data={data}
        lines={lines}
        height={CHART_PX}
        logY={isLog}
        range={range}
        onRange={setRange}
        marks={marks}
        syncKey={`run-${run.id}`}
        formatX={formatNumber}
        formatY={formatNumber}
      />
    </figure>
  );
}

/** Counts in groups of three digits. */
function valueText(value: number | undefined): string {
  return value !== undefined && Number.isInteger(value) ? value.toLocaleString("en") : formatNumber(value);
}

/** Where its best and its newest checkpoint are. */
function useMarks(run: RunView): readonly Mark[] {
  const { data } = useQuery(checkpointsQuery(run.id));
  return useMemo(
    () =>
      (data ?? [])
        .filter((one) => one.best || one.latest)
        .map((one) => ({ at: one.step, text: one.best ? "best" : "latest" })),
    [data],
  );
}
