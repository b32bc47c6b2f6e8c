/** What all slots did, one over the other, with the mean utilisation of their devices as a line. */
import { placeOf, type Scene, type Strip, sized } from "./draw";
import { FONT, hatching, INK } from "./ink";
import { stacked } from "./model";

export const STACK = 84;
const PAD = 8;
const COLUMN_PX = 3;

export function drawStack(canvas: HTMLCanvasElement, scene: Scene, mean: Strip | undefined): void {
  const ctx = sized(canvas, scene.width, STACK);
  if (!ctx) return;
  const ink = INK[scene.theme];
  const x = placeOf(scene);
  const height = STACK - 2 * PAD;
  const y = (share: number) => PAD + height * (1 - share);
  ctx.clearRect(0, 0, scene.width, STACK);
  ctx.font = `11px ${FONT}`;
  ctx.textBaseline = "middle";
  ctx.fillStyle = ink.text;
  ctx.textAlign = "right";
  for (const share of [0, 0.5, 1]) {
    ctx.fillText(`${share * 100} %`, scene.gutter - 8, y(share));
  }
  ctx.textAlign = "left";
  ctx.fillStyle = ink.band;
  ctx.fillRect(scene.gutter, PAD, scene.width - scene.gutter, height);
  const columns = Math.max(1, Math.floor((scene.width - scene.gutter) / COLUMN_PX));
  const width = (scene.width - scene.gutter) / columns;
  const hatch = hatching(ctx, ink);
  stacked(scene.gantt, scene.view.from, scene.view.to, scene.now, columns).forEach((shares, column) => {
    let from = 0;
    for (const [part, fill] of [
      ["train", ink.train],
      ["other", ink.train],
      ["evaluate", ink.evaluate],
      ["setup", hatch],
    ] as const) {
      const share = shares[part];
      if (share <= 0) continue;
      ctx.fillStyle = fill;
      ctx.fillRect(scene.gutter + column * width, y(from + share), width + 0.3, share * height);
      from += share;
    }
  });
  drawMean(ctx, scene, mean, x, y);
}

function drawMean(
  ctx: CanvasRenderingContext2D,
  scene: Scene,
  mean: Strip | undefined,
  x: (at: number) => number,
  y: (share: number) => number,
): void {
  if (!mean) return;
  ctx.save();
  ctx.beginPath();
  ctx.rect(scene.gutter, 0, scene.width - scene.gutter, STACK);
  ctx.clip();
  ctx.strokeStyle = INK[scene.theme].use;
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  let isDown = false;
  mean.at.forEach((at, index) => {
    const value = mean.mean[index];
    if (value === null || value === undefined) isDown = false;
    else if (isDown) ctx.lineTo(x(at), y(value));
    else {
      ctx.moveTo(x(at), y(value));
      isDown = true;
    }
  });
  ctx.stroke();
  ctx.restore();
}
