/** Draws the Gantt: an axis of time, a lane a slot, its chunks, and how busy its device was. Only what is in sight. */
import { runColor, type Theme } from "@/lib/run-color";
import { tickText } from "@/lib/time-ticks";
import { FONT, hatching, INK, type Ink } from "./ink";
import { type Bar, firstAfter, type Focus, type Gantt, isInFocus } from "./model";
import { ticks, type View } from "./view";

export const AXIS = 24;
export const ROW = 24;
const BAR_TOP = 3;
const BAR = 14;
const STRIP = 3;

export interface Strip {
  readonly at: readonly number[];
  readonly mean: readonly (number | null)[];
}

export interface Scene {
  readonly gantt: Gantt;
  readonly view: View;
  readonly width: number;
  readonly height: number;
  readonly gutter: number;
  readonly scrollTop: number;
  readonly now: number;
  readonly theme: Theme;
  readonly selected: string | null;
  readonly pointed: string | null;
  /** What is in full colour. */
  readonly focus: Focus;
  readonly strips: ReadonlyMap<string, Strip>;
}

export function sized(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const ratio = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const ctx = canvas.getContext("2d");
  ctx?.setTransform(ratio, 0, 0, ratio, 0, 0);
  return ctx;
}

/** From a time to a pixel of the canvas. */
export function placeOf(scene: Pick<Scene, "view" | "width" | "gutter">): (at: number) => number {
  const scale = (scene.width - scene.gutter) / (scene.view.to - scene.view.from);
  return (at) => scene.gutter + (at - scene.view.from) * scale;
}

export function drawGantt(canvas: HTMLCanvasElement, scene: Scene): void {
  const ctx = sized(canvas, scene.width, scene.height);
  if (!ctx) return;
  const ink = INK[scene.theme];
  const x = placeOf(scene);
  ctx.clearRect(0, 0, scene.width, scene.height);
  ctx.textBaseline = "middle";
  const first = Math.max(0, Math.floor(scene.scrollTop / ROW));
  const last = Math.min(scene.gantt.rows.length - 1, Math.ceil((scene.scrollTop + scene.height - AXIS) / ROW));
  const top = (row: number) => AXIS + row * ROW - scene.scrollTop;
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, AXIS, scene.width, scene.height - AXIS);
  ctx.clip();
  drawLanes(ctx, scene, ink, first, last, top);
  drawGrid(ctx, scene, ink, x);
  const hatch = hatching(ctx, ink);
  ctx.save();
  ctx.beginPath();
  ctx.rect(scene.gutter, AXIS, scene.width - scene.gutter, scene.height - AXIS);
  ctx.clip();
  for (let row = first; row <= last; row += 1) drawRow(ctx, scene, ink, hatch, row, top(row), x);
  drawNow(ctx, scene, ink, x);
  ctx.restore();
  ctx.restore();
  drawAxis(ctx, scene, ink, x);
}

function drawLanes(
  ctx: CanvasRenderingContext2D,
  scene: Scene,
  ink: Ink,
  first: number,
  last: number,
  top: (row: number) => number,
): void {
  ctx.font = `11px ${FONT}`;
  let group = 0;
  for (let row = 0; row <= last; row += 1) {
    const slot = scene.gantt.rows[row];
    if (!slot) break;
    if (row > 0 && slot.client !== scene.gantt.rows[row - 1]?.client) group += 1;
    if (row < first) continue;
    if (group % 2 === 0) {
      ctx.fillStyle = ink.band;
      ctx.fillRect(0, top(row), scene.width, ROW);
    }
    ctx.fillStyle = ink.text;
    ctx.fillText(fitted(ctx, slot.slot, scene.gutter - 18), 12, top(row) + ROW / 2, scene.gutter - 18);
  }
}

/** The end of a name that is too long tells slots apart. */
function fitted(ctx: CanvasRenderingContext2D, text: string, width: number): string {
  if (ctx.measureText(text).width <= width) return text;
  let short = text;
  while (short.length > 3 && ctx.measureText(`…${short}`).width > width) short = short.slice(1);
  return `…${short}`;
}

function drawGrid(ctx: CanvasRenderingContext2D, scene: Scene, ink: Ink, x: (at: number) => number): void {
  ctx.fillStyle = ink.grid;
  for (const at of ticks(scene.view, scene.width - scene.gutter).at)
    ctx.fillRect(Math.round(x(at)), AXIS, 1, scene.height);
}

function drawAxis(ctx: CanvasRenderingContext2D, scene: Scene, ink: Ink, x: (at: number) => number): void {
  const { step, at } = ticks(scene.view, scene.width - scene.gutter);
  ctx.font = `11px ${FONT}`;
  ctx.fillStyle = ink.text;
  ctx.textAlign = "center";
  for (const one of at) {
    const place = x(one);
    if (place >= scene.gutter + 20 && place <= scene.width - 20) ctx.fillText(tickText(one, step), place, AXIS / 2);
  }
  ctx.textAlign = "left";
  ctx.fillStyle = ink.grid;
  ctx.fillRect(0, AXIS - 1, scene.width, 1);
}

function drawNow(ctx: CanvasRenderingContext2D, scene: Scene, ink: Ink, x: (at: number) => number): void {
  if (scene.now < scene.view.from || scene.now > scene.view.to) return;
  ctx.fillStyle = ink.text;
  ctx.fillRect(Math.round(x(scene.now)), AXIS, 1, scene.height);
}

function drawRow(
  ctx: CanvasRenderingContext2D,
  scene: Scene,
  ink: Ink,
  hatch: CanvasPattern | string,
  row: number,
  top: number,
  x: (at: number) => number,
): void {
  const slot = scene.gantt.rows[row];
  if (!slot) return;
  // Where nothing is drawn over it, the slot was idle.
  ctx.strokeStyle = ink.grid;
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(scene.gutter, top + BAR_TOP + BAR / 2 + 0.5);
  ctx.lineTo(Math.min(scene.width, x(scene.now)), top + BAR_TOP + BAR / 2 + 0.5);
  ctx.stroke();
  let drawnTo = -Infinity;
  for (let index = firstAfter(slot.bars, scene.view.from); index < slot.bars.length; index += 1) {
    const bar = slot.bars[index] as Bar;
    if (bar.from > scene.view.to) break;
    const end = x(bar.to ?? Math.max(scene.now, bar.from));
    // Several within a pixel are drawn once.
    if (end - drawnTo < 0.5 && bar.key !== scene.selected) continue;
    drawBar(ctx, scene, ink, hatch, bar, top + BAR_TOP, x);
    drawnTo = end;
  }
  drawStrip(ctx, scene, ink, scene.strips.get(`${slot.client}/${slot.device}`), top + BAR_TOP + BAR + 2, x);
}

function drawBar(
  ctx: CanvasRenderingContext2D,
  scene: Scene,
  ink: Ink,
  hatch: CanvasPattern | string,
  bar: Bar,
  top: number,
  x: (at: number) => number,
): void {
  const left = Math.max(scene.gutter - 4, x(bar.from));
  const right = Math.min(scene.width + 4, Math.max(x(bar.to ?? Math.max(scene.now, bar.from)), left + 1));
  const isPale = !isInFocus(bar, scene.focus);
  ctx.globalAlpha = isPale ? 0.22 : 1;
  const color = runColor(bar.run, scene.theme);
  const trainFrom =
    bar.train_from === null ? (bar.outcome === "training" ? right : left) : clamp(x(bar.train_from), left, right);
  const trainTo = bar.train_to === null ? right : clamp(x(bar.train_to), trainFrom, right);
  if (trainFrom - left >= 0.75) {
    ctx.fillStyle = hatch;
    ctx.fillRect(left, top, trainFrom - left, BAR);
  }
  ctx.fillStyle = color;
  ctx.fillRect(trainFrom, top, Math.max(trainTo - trainFrom, 0.75), BAR);
  const evaluatedTo = bar.evaluated_to === null ? right : clamp(x(bar.evaluated_to), trainTo, right);
  if (evaluatedTo - trainTo >= 0.75) {
    // Evaluation: the run's colour at half height.
    ctx.fillRect(trainTo, top + BAR / 2 - 2, evaluatedTo - trainTo, 4);
  }
  // A thin edge keeps chunks of one run apart.
  if (right - left > 3) {
    ctx.fillStyle = ink.lane;
    ctx.fillRect(right - 1, top, 1, BAR);
  }
  drawOutcome(ctx, ink, bar, right, top);
  const room = trainTo - trainFrom;
  if (room > 26) {
    ctx.font = `600 10px ${FONT}`;
    ctx.fillStyle = ink.onBar;
    const long = `${bar.run}  ${bar.from_step}–${bar.to_step}`;
    const text = ctx.measureText(long).width < room - 8 ? long : bar.run;
    if (ctx.measureText(text).width < room - 6) ctx.fillText(text, trainFrom + 4, top + BAR / 2 + 0.5);
  }
  ctx.globalAlpha = 1;
  if (bar.key === scene.selected || bar.key === scene.pointed) {
    ctx.strokeStyle = ink.focus;
    ctx.lineWidth = bar.key === scene.selected ? 2 : 1;
    ctx.strokeRect(left - 1, top - 1, right - left + 2, BAR + 2);
  }
}

function drawOutcome(ctx: CanvasRenderingContext2D, ink: Ink, bar: Bar, right: number, top: number): void {
  if (bar.outcome === "failed") {
    ctx.strokeStyle = ink.fail;
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.moveTo(right - 4, top + 3);
    ctx.lineTo(right + 4, top + BAR - 3);
    ctx.moveTo(right + 4, top + 3);
    ctx.lineTo(right - 4, top + BAR - 3);
    ctx.stroke();
  } else if (bar.outcome === "dropped") {
    ctx.fillStyle = ink.fail;
    ctx.fillRect(right - 2, top, 2, BAR);
  }
}

/** How busy the device was: taller is busier. A gap is a gap. */
function drawStrip(
  ctx: CanvasRenderingContext2D,
  scene: Scene,
  ink: Ink,
  strip: Strip | undefined,
  top: number,
  x: (at: number) => number,
): void {
  if (!strip) return;
  ctx.fillStyle = ink.use;
  for (let index = 0; index < strip.at.length - 1; index += 1) {
    const value = strip.mean[index];
    const [left, right] = [x(strip.at[index] as number), x(strip.at[index + 1] as number)];
    if (value === null || value === undefined || right < scene.gutter || left > scene.width) continue;
    const height = Math.max(0.5, value * STRIP);
    ctx.globalAlpha = 0.35 + 0.65 * value;
    ctx.fillRect(left, top + STRIP - height, right - left + 0.3, height);
  }
  ctx.globalAlpha = 1;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
