import { memo, type PointerEvent, useMemo, useState } from "react";
import type { ExperimentView } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import { cx } from "@/lib/cx";
import { rangeOf } from "@/lib/filter";
import { plural } from "@/lib/format";
import { runColorCss } from "@/lib/run-color";
import { useWidth } from "@/lib/use-width";
import { Empty, Panel } from "@/ui/panel";
import css from "./experiment.module.css";
import { highlight, useHighlight } from "./highlight";
import { type Axis, axesOf, brushed, brushOf, pathOf, type Scale } from "./parallel-model";
import { changedKeys } from "./run-columns";
import { alive, type RunFilter } from "./use-run-filter";

const HEIGHT = 260;
const TOP = 34;
const BOTTOM = 16;
const SIDE = 64;
const AXIS_PX_MIN = 110;
const RUNS_MAX = 1000;

const y = (at: number) => TOP + (1 - at) * (HEIGHT - TOP - BOTTOM);
const BRUSH_PX = 24;

/** Parameters and result of every run as one line each. Drawing along an axis filters the page's runs by it; the others stay as a background. */
export const ParallelPanel = memo(function ParallelPanel(props: {
  experiment: ExperimentView;
  runs: readonly RunView[];
  view: RunFilter;
}) {
  const metric = props.experiment.metric.name;
  const { filter, setFilter, shown } = props.view;
  const [box, width] = useWidth<HTMLDivElement>();
  const runs = useMemo(
    () =>
      alive(props.runs)
        .filter((run) => run.best)
        .slice(0, RUNS_MAX),
    [props.runs],
  );
  const [passing, others] = useMemo(() => {
    const ids = new Set(shown.map((run) => run.id));
    return [runs.filter((run) => ids.has(run.id)), runs.filter((run) => !ids.has(run.id))];
  }, [runs, shown]);
  const axes = useMemo(() => axesOf(runs, metric, changedKeys(runs)), [runs, metric]);
  const drawn = Math.max(width, axes.length * AXIS_PX_MIN);
  return (
    <Panel
      title="Parallel coordinates"
      note={`${others.length > 0 ? `${passing.length} of ` : ""}${plural(runs.length, "run")} with a value of ${metric}; draw along an axis to filter`}
      flush
    >
      <div ref={box} className={css.scroll}>
        {axes.length > 1 ? (
          <svg
            width={drawn}
            height={HEIGHT}
            role="img"
            aria-label={`${plural(runs.length, "run")} over ${axes.map((axis) => axis.label).join(", ")}`}
            onMouseLeave={() => highlight(null)}
          >
            <g className={cx(css.lines, css.filteredOut)}>
              <AllLines runs={others} axes={axes} width={drawn} />
            </g>
            <Lines runs={passing} axes={axes} width={drawn} />
            {axes.map((axis, index) => (
              <g key={axis.key} className={css.axis}>
                <AxisLine axis={axis} x={axisX(index, axes, drawn)} isLast={index === axes.length - 1} />
                {axis.scale && (
                  <Brush scale={axis.scale} x={axisX(index, axes, drawn)} filter={filter} setFilter={setFilter} />
                )}
              </g>
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
    <>
      <line x1={x} x2={x} y1={y(0)} y2={y(1)} />
      <text x={x} y={16} textAnchor="middle" className={css.axisName}>
        {axis.label}
      </text>
      {axis.ticks.map((tick) => (
        <text key={tick.text} x={isLast ? x + 8 : x - 8} y={y(tick.at) + 4} textAnchor={isLast ? "start" : "end"}>
          {tick.text}
        </text>
      ))}
    </>
  );
}

interface BrushProps {
  scale: Scale;
  x: number;
  filter: string;
  setFilter(text: string): void;
}

/** The range that the filter leaves of an axis, and where the pointer draws another one. By keyboard: the filter box says the same. */
function Brush({ scale, x, filter, setFilter }: BrushProps) {
  const [drawn, setDrawn] = useState<readonly [number, number] | null>(null);
  const range = drawn ?? brushOf(scale, rangeOf(filter, scale.field));
  const [low, high] = range ? [Math.min(...range), Math.max(...range)] : [0, 0];
  return (
    <>
      {range && <rect className={css.brush} x={x - 5} width={10} y={y(high)} height={Math.max(1, y(low) - y(high))} />}
      <rect
        className={css.brushable}
        data-axis={scale.field}
        x={x - BRUSH_PX / 2}
        width={BRUSH_PX}
        y={y(1)}
        height={y(0) - y(1)}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          setDrawn([placeOf(event), placeOf(event)]);
        }}
        onPointerMove={(event) => drawn && setDrawn([drawn[0], placeOf(event)])}
        onPointerUp={() => {
          if (drawn) setFilter(brushed(filter, scale, ...drawn));
          setDrawn(null);
        }}
        onPointerCancel={() => setDrawn(null)}
      >
        <title>{`draw to filter by ${scale.field}, click to see all again`}</title>
      </rect>
    </>
  );
}

/** Where on the axis the pointer is, 0 at the bottom to 1. */
function placeOf(event: PointerEvent<SVGRectElement>): number {
  const { top, height } = event.currentTarget.getBoundingClientRect();
  return Math.min(1, Math.max(0, 1 - (event.clientY - top) / height));
}
