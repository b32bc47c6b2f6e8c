/** The line in front: drawn on a canvas of its own, over a veil on the others. A hundred lines behind it cost nothing. */
import type uPlot from "uplot";
import css from "./chart.module.css";

/** What uPlot keeps of a series that it has drawn; no part of its types. */
interface Drawn {
  readonly _focus?: boolean | null;
  readonly _paths?: { readonly stroke?: Path2D } | null;
}

const WIDER = 1.6;
const VEIL = 0.72;

/** Draws the focused series over the plot, or clears it where none is. */
export function bringForward(plot: uPlot): void {
  const index = plot.series.findIndex((series, at) => at > 0 && (series as Drawn)._focus === true);
  const path = index < 0 ? undefined : (plot.series[index] as Drawn)._paths?.stroke;
  const canvas = overlayOf(plot);
  const ctx = canvas.getContext("2d");
  if (!ctx) return;
  const { width, height } = plot.ctx.canvas;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  else ctx.clearRect(0, 0, width, height);
  if (path === undefined) return;
  const series = plot.series[index] as uPlot.Series;
  const { left, top, width: across, height: down } = plot.bbox;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, across, down);
  ctx.clip();
  ctx.globalAlpha = VEIL;
  ctx.fillStyle = getComputedStyle(canvas).color;
  ctx.fillRect(left, top, across, down);
  ctx.globalAlpha = 1;
  ctx.lineWidth = (series.width ?? 1) * WIDER * devicePixelRatio;
  ctx.lineJoin = "round";
  ctx.strokeStyle =
    typeof series.stroke === "function" ? (series.stroke(plot, index) as string) : (series.stroke as string);
  ctx.stroke(path);
  ctx.restore();
}

function overlayOf(plot: uPlot): HTMLCanvasElement {
  const wrap = plot.ctx.canvas.parentElement as HTMLElement;
  const found = wrap.querySelector<HTMLCanvasElement>(`:scope > .${css.front}`);
  if (found) return found;
  const made = document.createElement("canvas");
  made.className = css.front as string;
  plot.ctx.canvas.after(made);
  return made;
}
