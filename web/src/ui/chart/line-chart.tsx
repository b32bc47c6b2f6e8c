/** Lines over a shared axis: drag to zoom, double click to go back, point at a line to bring it forward; or all of it by keys. */
import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from "react";
import type uPlot from "uplot";
import { useTheme } from "@/app/theme";
import type { Aligned } from "./align";
import css from "./chart.module.css";
import { ChartTip, type TipState, tipText } from "./chart-tip";
import { type ChartLook, type Line, type Mark, makePlot, type Threshold, tipAt } from "./plot";
import { walked, zoomedBy } from "./walk";

export type { Line, Mark, Threshold } from "./plot";

interface LineChartProps extends ChartLook {
  /** What the chart shows, for screen readers. */
  label: string;
  data: Aligned;
  lines: readonly Line[];
  height: number;
  /** What of the axis is shown; `null` is all. */
  range?: readonly [number, number] | null;
  onRange?(range: readonly [number, number] | null): void;
  /** The key of the line in front. */
  highlighted?: string | null;
  onHighlight?(key: string | null): void;
  /** A line was clicked. */
  onPick?(key: string): void;
  /** A mark that has a key was clicked, or the plot right beside it. */
  onMark?(key: string): void;
  marks?: readonly Mark[];
  thresholds?: readonly Threshold[];
  /** Charts of one key share their crosshair. */
  syncKey?: string;
  formatX(x: number): string;
  formatY(y: number): string;
}

const KEYS = "Arrow keys read values, Home and End the first and the last; plus and minus zoom.";
const NO_MARKS: readonly Mark[] = [];

export function LineChart(props: LineChartProps) {
  const {
    data,
    lines,
    height,
    range,
    highlighted,
    marks = NO_MARKS,
    thresholds,
    logY,
    timeX,
    durationX,
    syncKey,
  } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  // The plot outlives most renders: it reads what is current from here.
  const now = useRef(props);
  now.current = props;
  const theme = useTheme();
  const [tip, setTip] = useState<TipState | null>(null);
  /** The x value that keys have led to; `null` while the pointer leads. */
  const walkedTo = useRef<number | null>(null);
  const [spoken, setSpoken] = useState("");
  const look = useMemo(() => lookOf(lines), [lines]);

  useEffect(() => {
    const element = box.current as HTMLDivElement;
    const made = makePlot(element, () => now.current, theme, setTip);
    plot.current = made;
    const watcher = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry?.contentRect.width ?? 0);
      if (width > 0 && width !== made.width) made.setSize({ width, height: now.current.height });
    });
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [look, theme, logY, timeX, durationX, syncKey, height]);

  useEffect(() => {
    plot.current?.setData(data as uPlot.AlignedData, true);
    // What keys have led to stays under the cursor while new values come.
    if (plot.current && walkedTo.current !== null)
      setTip(moved(plot.current, lines, nearest(data[0], walkedTo.current)));
  }, [data, lines, range, marks, thresholds]);

  useEffect(() => {
    const index = lines.findIndex((line) => line.key === highlighted);
    plot.current?.setSeries(index < 0 ? null : index + 1, { focus: index >= 0 });
  }, [highlighted, lines]);

  const press = (event: KeyboardEvent) => {
    const { current: shownPlot } = plot;
    if (!shownPlot || event.ctrlKey || event.metaKey || event.altKey) return;
    const { min, max } = shownPlot.scales.x as { min?: number; max?: number };
    if (min === undefined || max === undefined) return;
    const zoom = props.onRange && zoomedBy(event.key, [min, max], walkedTo.current, data[0]);
    if (zoom !== undefined) {
      event.preventDefault();
      props.onRange?.(zoom);
      return;
    }
    const at = walkedTo.current === null ? null : nearest(data[0], walkedTo.current);
    const next = walked(data[0], at, event.key, [min, max], event.shiftKey);
    if (next === null) return;
    event.preventDefault();
    walkedTo.current = data[0][next] ?? null;
    const found = moved(shownPlot, lines, next);
    setTip(found);
    setSpoken(tipText({ tip: found, data, lines, marks, formatX: props.formatX, formatY: props.formatY }));
  };
  const leave = () => {
    if (walkedTo.current === null) return;
    walkedTo.current = null;
    setSpoken("");
    plot.current?.setCursor({ left: -10, top: -10 });
    setTip(null);
  };

  return (
    <div
      className={css.frame}
      role="application"
      aria-label={`Chart. ${KEYS}`}
      tabIndex={0}
      onKeyDown={press}
      onBlur={leave}
      onPointerMove={() => {
        walkedTo.current = null;
      }}
    >
      <div role="img" aria-label={props.label} data-until={data[0].at(-1)}>
        <div ref={box} className={css.box} style={{ height }} />
      </div>
      {tip && (
        <ChartTip tip={tip} data={data} lines={lines} marks={marks} formatX={props.formatX} formatY={props.formatY} />
      )}
      <span role="status" className="visually-hidden">
        {spoken}
      </span>
    </div>
  );
}

/** Puts the cursor on a value of the data; the tip that belongs there. */
function moved(plot: uPlot, lines: readonly Line[], index: number): TipState {
  const left = plot.valToPos(plot.data[0][index] as number, "x");
  const top = plot.over.clientHeight / 2;
  plot.setCursor({ left, top });
  return tipAt(plot, lines, index, left, top);
}

function nearest(xs: readonly number[], x: number): number {
  let found = 0;
  for (let index = 1; index < xs.length; index += 1)
    if (Math.abs((xs[index] as number) - x) < Math.abs((xs[found] as number) - x)) found = index;
  return found;
}

/** Equal for lines that look the same: then the plot stays and only its data changes. */
function lookOf(lines: readonly Line[]): string {
  return lines
    .map((line) => `${line.key} ${line.label} ${line.color} ${line.dash} ${line.width} ${line.alpha} ${line.dotted}`)
    .join("|");
}
