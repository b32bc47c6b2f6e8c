import { memo, useMemo } from "react";
import type { ExperimentView } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import { cx } from "@/lib/cx";
import { plural } from "@/lib/format";
import { runColorCss } from "@/lib/run-color";
import { useWidth } from "@/lib/use-width";
import { Empty, Panel } from "@/ui/panel";
import css from "./experiment.module.css";
import { highlight, useHighlight } from "./highlight";
import { type Axis, axesOf, pathOf } from "./parallel-model";
import { changedKeys } from "./run-columns";

const HEIGHT = 260;
const TOP = 34;
const BOTTOM = 16;
const SIDE = 64;
const AXIS_PX_MIN = 110;
const RUNS_MAX = 1000;

const y = (at: number) => TOP + (1 - at) * (HEIGHT - TOP - BOTTOM);

/** Parameters and result of every run as one line each. */
export const ParallelPanel = memo(function ParallelPanel(props: {
  experiment: ExperimentView;
  runs: readonly RunView[];
}) {
  const metric = props.experiment.metric.name;
  const [box, width] = useWidth<HTMLDivElement>();
  const runs = useMemo(() => props.runs.filter((run) => run.best).slice(0, RUNS_MAX), [props.runs]);
  const axes = useMemo(() => axesOf(runs, metric, changedKeys(runs)), [runs, metric]);
  const drawn = Math.max(width, axes.length * AXIS_PX_MIN);
  return (
    <Panel title="Parallel coordinates" note={`${plural(runs.length, "run")} with a value of ${metric}`} flush>
      <div ref={box} className={css.scroll}>
        {axes.length > 1 ? (
          <svg
            width={drawn}
            height={HEIGHT}
            role="img"
            aria-label={`${plural(runs.length, "run")} over ${axes.map((axis) => axis.label).join(", ")}`}
            onMouseLeave={() => highlight(null)}
          >
            <Lines runs={runs} axes={axes} width={drawn} />
            {axes.map((axis, index) => (
              <AxisLine key={axis.key} axis={axis} x={axisX(index, axes, drawn)} isLast={index === axes.length - 1} />
            ))}
          </svg>
        ) : (
          <Empty title="Nothing to compare yet">It takes two runs that differ in a parameter and have a value.</Empty>
        )}
      </div>
    </Panel>
  );
});

interface LinesProps {
  runs: readonly RunView[];
  axes: readonly Axis[];
  width: number;
}

/** The lines stay as they are while the pointer moves: only the one in front is drawn again. */
function Lines(props: LinesProps) {
  const highlighted = useHighlight();
  const front = props.runs.find((run) => run.id === highlighted);
  return (
    <g className={css.lines}>
      <g className={cx(front && css.dimmed)}>
        <AllLines {...props} />
      </g>
      {front && (
        <path
          d={pathOf(front, props.axes, (index) => axisX(index, props.axes, props.width), y)}
          style={{ stroke: runColorCss(front.id) }}
          className={css.front}
        />
      )}
    </g>
  );
}

const AllLines = memo(function AllLines({ runs, axes, width }: LinesProps) {
  return runs.map((run) => (
    <path
      key={run.id}
      d={pathOf(run, axes, (index) => axisX(index, axes, width), y)}
      style={{ stroke: runColorCss(run.id) }}
      onMouseEnter={() => highlight(run.id)}
    >
      <title>{run.id}</title>
    </path>
  ));
});

function axisX(index: number, axes: readonly Axis[], width: number): number {
  return SIDE + (index * (width - 2 * SIDE)) / Math.max(1, axes.length - 1);
}

function AxisLine({ axis, x, isLast }: { axis: Axis; x: number; isLast: boolean }) {
  return (
    <g className={css.axis}>
      <line x1={x} x2={x} y1={y(0)} y2={y(1)} />
      <text x={x} y={16} textAnchor="middle" className={css.axisName}>
        {axis.label}
      </text>
      {axis.ticks.map((tick) => (
        <text key={tick.text} x={isLast ? x + 6 : x - 6} y={y(tick.at) + 4} textAnchor={isLast ? "start" : "end"}>
          {tick.text}
        </text>
      ))}
    </g>
  );
}
