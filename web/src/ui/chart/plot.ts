/** The uPlot behind a chart. */
import uPlot from "uplot";
import type { Theme } from "@/lib/run-color";
import { DURATION_STEPS_S, durationTick, logSplits, numberTick, stepAt, WHOLE_STEPS } from "@/lib/ticks";
import { tickTexts } from "@/lib/time-ticks";
import type { Aligned } from "./align";
import { marksAt, type TipState } from "./chart-tip";
import { bringForward } from "./front";
import { type EndWord, placeEnds, placeWords } from "./words";

export interface Line {
  readonly key: string;
  readonly label: string;
  readonly color: string;
  readonly dash?: readonly number[];
  readonly width?: number;
  readonly alpha?: number;
  /** Drawn, but neither pointed at nor named: the raw values behind a smoothed line. */
  readonly shadow?: boolean;
  /** Has points whatever the other lines have: what an evaluation measured now and then. */
  readonly dotted?: boolean;
  /** The key of another line; what lies between the two is tinted. */
  readonly fillTo?: string;
}

/** A vertical line with a word. */
export interface Mark {
  /** Of one that can be clicked. */
  readonly key?: string;
  readonly at: number;
  readonly text: string;
  /** What the tip says of it; the word alone where there is none. */
  readonly title?: string;
  readonly color?: string;
}

/** A horizontal line with a word. */
export interface Threshold {
  readonly value: number;
  readonly text: string;
  readonly color?: string;
}

export interface ChartLook {
  logY?: boolean;
  /** Ticks at powers of two, for sizes in bytes. */
  binaryY?: boolean;
  /** Ticks at whole numbers, for things that are counted. */
  wholeY?: boolean;
  /** The axis is of seconds since the epoch; one of neither kind counts steps or samples. */
  timeX?: boolean;
  /** The axis is of seconds that have gone by. */
  durationX?: boolean;
  /** The least and the greatest y to show, where that is fixed. */
  rangeY?: readonly [number, number];
  /** A tick's text; `step` is how far it is to the next one. Plain numbers by default. */
  tickY?(y: number, step: number): string;
}

export interface PlotProps extends ChartLook {
  data: Aligned;
  lines: readonly Line[];
  height: number;
  range?: readonly [number, number] | null;
  onRange?(range: readonly [number, number] | null): void;
  onHighlight?(key: string | null): void;
  onPick?(key: string): void;
  onMark?(key: string): void;
  marks?: readonly Mark[];
  thresholds?: readonly Threshold[];
  syncKey?: string;
  formatX(x: number): string;
  formatY(y: number): string;
}

interface Ink {
  readonly text: string;
  readonly grid: string;
  readonly mark: string;
  /** Around words that lie over lines: the surface's colour. */
  readonly halo: string;
}

const INK: Readonly<Record<Theme, Ink>> = {
  light: { text: "#5a6372", grid: "#e7eaee", mark: "#87909d", halo: "#ffffff" },
  dark: { text: "#9ba5b4", grid: "#222932", mark: "#6b7685", halo: "#151a21" },
};
const FONT = '11px "Inter Variable", system-ui, sans-serif';
const BINARY = Array.from({ length: 61 }, (_, power) => 2 ** power);
const AXIS_PX_MIN = 60;
const AXIS_GAP_PX = 14;
const CHARACTER_PX = 6.2;
/** How near, in pixels, the pointer must be to a line to bring it forward. */
const NEAR_PX = 24;
/** Of the ends of a logarithmic axis to the values, as a share of their distance. */
const PAD_SHARE = 0.08;
/** From one tick to the next at least: the longest text and some air. */
const TICK_SPACE_PX = { moment: 72, duration: 104, count: 64 };

export function makePlot(
  box: HTMLElement,
  props: () => PlotProps,
  theme: Theme,
  setTip: (tip: TipState | null) => void,
): uPlot {
  const { lines, height, logY, binaryY, wholeY, timeX, durationX, syncKey, data } = props();
  const ink = INK[theme];
  const axis = {
    stroke: ink.text,
    font: FONT,
    grid: { stroke: ink.grid, width: 1 },
    ticks: { stroke: ink.grid, width: 1, size: 4 },
  };
  const options: uPlot.Options = {
    width: Math.max(1, box.clientWidth),
    height,
    legend: { show: false },
    // Not by transparency, which would draw every line again: see front.ts.
    focus: { alpha: 1 },
    padding: [8, 12, 0, 0],
    cursor: {
      drag: { x: true, y: false, setScale: false, dist: 5 },
      focus: { prox: NEAR_PX },
      points: { size: 6 },
      ...(syncKey ? { sync: { key: syncKey, setSeries: false, scales: ["x", null] as [string, null] } } : {}),
    },
    scales: {
      x: { time: Boolean(timeX), range: (_plot, min, max) => shownX(props().range, min, max) },
      y: { distr: logY ? 3 : 1, range: (_plot, min, max) => shownY(props(), min, max) },
    },
    axes: [
      { ...axis, size: 28, gap: 4, ...ticksX(Boolean(timeX), Boolean(durationX)) },
      {
        ...axis,
        size: (_plot: uPlot, texts: string[] | null) => axisWidth(texts),
        gap: 6,
        ...(binaryY ? { incrs: BINARY } : wholeY ? { incrs: [...WHOLE_STEPS] } : {}),
        ...(logY ? { splits: (_plot, _axis, min, max) => logSplits(min, max), filter: (_plot, splits) => splits } : {}),
        values: (_plot, at) => at.map((y, index) => (props().tickY ?? numberTick)(y, stepAt(at, index))),
      },
    ],
    series: [{}, ...lines.map((line) => seriesOf(line, lines))],
    bands: bandsOf(lines),
    hooks: {
      setSelect: [(plot) => zoomed(plot, props())],
      setCursor: [(plot) => setTip(tipOf(plot, props().lines))],
      setSeries: [
        (plot, index) => {
          bringForward(plot);
          // Only what the pointer does on this chart; what the page highlights comes in by setSeries without a cursor.
          if ((plot.cursor.left ?? -1) < 0) return;
          const line = index === null ? undefined : props().lines[index - 1];
          props().onHighlight?.(line && !line.shadow ? line.key : null);
        },
      ],
      draw: [(plot) => drawMarks(plot, props(), ink), bringForward],
    },
  };
  const plot = new uPlot(options, data as uPlot.AlignedData, box);
  plot.over.addEventListener("dblclick", () => props().onRange?.(null));
  plot.over.addEventListener("click", () => {
    const tip = tipOf(plot, props().lines);
    if (plot.select.width > 0) return;
    const mark = tip && marksAt(props().marks ?? [], tip).find((one) => one.key !== undefined);
    const line = tip && props().lines[tip.focused];
    if (mark?.key !== undefined) props().onMark?.(mark.key);
    else if (line) props().onPick?.(line.key);
  });
  plot.over.addEventListener("mouseleave", () => props().onHighlight?.(null));
  return plot;
}

function ticksX(isMoment: boolean, isDuration: boolean): Pick<uPlot.Axis, "values" | "space" | "incrs"> {
  if (isMoment) return { space: TICK_SPACE_PX.moment, values: (_plot, at, _axis, _space, step) => tickTexts(at, step) };
  return {
    incrs: [...(isDuration ? DURATION_STEPS_S : WHOLE_STEPS)],
    space: isDuration ? TICK_SPACE_PX.duration : TICK_SPACE_PX.count,
    values: (_plot, at, _axis, _space, step) => at.map((x) => (isDuration ? durationTick : numberTick)(x, step)),
  };
}

/** Wide enough for the longest text, and the same for most charts, so that those below each other line up. */
function axisWidth(texts: readonly string[] | null): number {
  return Math.max(AXIS_PX_MIN, ...(texts ?? []).map((text) => AXIS_GAP_PX + text.length * CHARACTER_PX));
}

function bandsOf(lines: readonly Line[]): uPlot.Band[] {
  return lines.flatMap((line, index) => {
    const other = lines.findIndex((one) => one.key === line.fillTo);
    return other < 0 ? [] : [{ series: [index + 1, other + 1] as [number, number], fill: `${line.color}26` }];
  });
}

export function seriesOf(line: Line, lines: readonly Line[]): uPlot.Series {
  return {
    label: line.label,
    stroke: line.color,
    width: line.width ?? 1.5,
    alpha: line.alpha ?? 1,
    dash: line.dash ? [...line.dash] : undefined,
    points: {
      show: (plot) => line.width !== 0 && (line.dotted === true || isSparse(plot.data as Aligned, lines)),
      fill: line.color,
    },
  };
}

const FEW = 40;
const sparse = new WeakMap<Aligned, boolean>();

/** Points are worth showing where lines have few of them: all lines of a chart or none. Every line asks, so the answer is kept. */
export function isSparse(data: Aligned, lines: readonly Line[]): boolean {
  const known = sparse.get(data);
  if (known !== undefined) return known;
  const found = lines.every((line, index) => line.width === 0 || line.dotted || hasFew(data[index + 1]));
  sparse.set(data, found);
  return found;
}

function hasFew(values: ArrayLike<unknown> = []): boolean {
  let known = 0;
  for (let index = 0; index < values.length && known < FEW; index += 1) if (values[index] != null) known += 1;
  return known < FEW;
}

function shownX(range: readonly [number, number] | null | undefined, min: number, max: number): uPlot.Range.MinMax {
  if (range) return [range[0], range[1]];
  return min === max ? [min - 1, max + 1] : [min, max];
}

function shownY(props: PlotProps, min: number | null, max: number | null): uPlot.Range.MinMax {
  if (props.rangeY) return [props.rangeY[0], props.rangeY[1]];
  if (min === null || max === null) return props.logY ? [0.1, 10] : [0, 1];
  if (props.logY) return logRange(min > 0 ? min : 1e-6, max > 0 ? max : 1);
  return uPlot.rangeNum(min, max, 0.08, false);
}

/** A little more than there is on both sides, and not whole decades: most of those would be empty. */
export function logRange(min: number, max: number): [number, number] {
  const pad = max > min ? (max / min) ** PAD_SHARE : 1.1;
  return [min / pad, max * pad];
}

function zoomed(plot: uPlot, props: PlotProps): void {
  const { left, width } = plot.select;
  // Charts that only share the crosshair of the one that was dragged on have no event of their own.
  if (width <= 0 || plot.cursor.event == null) return;
  props.onRange?.([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

function tipOf(plot: uPlot, lines: readonly Line[]): TipState | null {
  const { left = -1, top = -1, idx, event } = plot.cursor;
  if (left < 0 || event == null || idx === null || idx === undefined) return null;
  return tipAt(plot, lines, idx, left, top);
}

/** The tip for a value of the data, with the cursor at that point of the plot. */
export function tipAt(plot: uPlot, lines: readonly Line[], index: number, left: number, top: number): TipState {
  return {
    index,
    left: left + plot.over.offsetLeft,
    top: top + plot.over.offsetTop,
    width: plot.width,
    value: plot.posToVal(top, "y"),
    x: plot.posToVal(left, "x"),
    xPerPx: Math.abs(plot.posToVal(left + 1, "x") - plot.posToVal(left, "x")),
    focused: lines.findIndex((_, at) => (plot.series[at + 1] as { _focus?: boolean })._focus === true),
  };
}

function drawMarks(plot: uPlot, props: PlotProps, ink: Ink): void {
  const { ctx } = plot;
  const { left, top, width, height } = plot.bbox;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.font = FONT.replace("11px", `${11 * devicePixelRatio}px`);
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  const marks = props.marks ?? [];
  const lines = marks.map((mark) => Math.round(plot.valToPos(mark.at, "x", true)));
  const words = marks.map((mark, index) => ({ at: lines[index] as number, width: ctx.measureText(mark.text).width }));
  const [gap, rowPx, right] = [4 * devicePixelRatio, 14 * devicePixelRatio, left + width];
  const base = top + 12 * devicePixelRatio;
  const ends = endsOf(plot, props, ink);
  const starts = placeEnds(ends, right, gap, rowPx);
  const edge = Math.min(right, ...starts.filter((_, index) => Math.abs((ends[index] as End).y - base) < rowPx));
  const places = placeWords(words, left, right, gap, edge);
  marks.forEach((mark, index) => {
    const x = lines[index] as number;
    strokeLine(ctx, mark.color ?? ink.mark, x, top, x, top + height);
  });
  marks.forEach((mark, index) => {
    const place = places[index] ?? null;
    if (place !== null) drawWord(ctx, mark.text, place, base, mark.color ?? ink.text, ink.halo);
  });
  for (const { lineY, lineColor } of ends) strokeLine(ctx, lineColor, left, lineY, right, lineY);
  ends.forEach(({ text, y, color }, index) => drawWord(ctx, text, starts[index] as number, y, color, ink.halo));
  ctx.restore();
}

interface End extends EndWord {
  readonly text: string;
  readonly color: string;
  readonly lineY: number;
  readonly lineColor: string;
}

/** The thresholds in sight, each with its word above its line, or below where there is no room above. */
function endsOf(plot: uPlot, { thresholds }: PlotProps, ink: Ink): End[] {
  const { top, height } = plot.bbox;
  return (thresholds ?? []).flatMap(({ value, text, color }) => {
    const lineY = Math.round(plot.valToPos(value, "y", true));
    if (lineY < top || lineY > top + height) return [];
    const y = lineY + (lineY - top > 14 * devicePixelRatio ? -4 : 12) * devicePixelRatio;
    const { width } = plot.ctx.measureText(text);
    return [{ text, y, width, lineY, color: color ?? ink.text, lineColor: color ?? ink.mark }];
  });
}

function drawWord(
  ctx: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  color: string,
  halo: string,
): void {
  ctx.save();
  ctx.setLineDash([]);
  ctx.lineJoin = "round";
  ctx.lineWidth = 3 * devicePixelRatio;
  ctx.strokeStyle = halo;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = color;
  ctx.fillText(text, x, y);
  ctx.restore();
}

function strokeLine(
  ctx: CanvasRenderingContext2D,
  color: string,
  x0: number,
  y0: number,
  x1: number,
  y1: number,
): void {
  ctx.strokeStyle = color;
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}
