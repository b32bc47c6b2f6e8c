/** Lines over a shared axis: drag to zoom, double click to go back, point at a line to bring it forward. */
import { useEffect, useMemo, useRef, useState } from "react";
import type uPlot from "uplot";
import { useTheme } from "@/app/theme";
import type { Aligned } from "./align";
import css from "./chart.module.css";
import { ChartTip, type TipState } from "./chart-tip";
import { type ChartLook, type Line, type Mark, makePlot, type Threshold } from "./plot";

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
  marks?: readonly Mark[];
  thresholds?: readonly Threshold[];
  /** Charts of one key share their crosshair. */
  syncKey?: string;
  formatX(x: number): string;
  formatY(y: number): string;
}

export function LineChart(props: LineChartProps) {
  const { data, lines, height, range, highlighted, marks, thresholds, logY, timeX, syncKey } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  // The plot outlives most renders: it reads what is current from here.
  const now = useRef(props);
  now.current = props;
  const theme = useTheme();
  const [tip, setTip] = useState<TipState | null>(null);
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
  }, [look, theme, logY, timeX, syncKey, height]);

  useEffect(() => {
    plot.current?.setData(data as uPlot.AlignedData, true);
  }, [data, range, marks, thresholds]);

  useEffect(() => {
    const index = lines.findIndex((line) => line.key === highlighted);
    plot.current?.setSeries(index < 0 ? null : index + 1, { focus: index >= 0 });
  }, [highlighted, lines]);

  return (
    <div className={css.frame} role="img" aria-label={props.label} data-until={data[0].at(-1)}>
      <div ref={box} className={css.box} style={{ height }} />
      {tip && <ChartTip tip={tip} data={data} lines={lines} formatX={props.formatX} formatY={props.formatY} />}
    </div>
  );
}

/** Equal for lines that look the same: then the plot stays and only its data changes. */
function lookOf(lines: readonly Line[]): string {
  return lines
    .map((line) => `${line.key} ${line.label} ${line.color} ${line.dash} ${line.width} ${line.alpha}`)
    .join("|");
}
