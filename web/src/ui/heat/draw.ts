import type { Theme } from "@/lib/run-color";
import { contrast } from "@/lib/contrast";
import { type Layout, TEXT_SIZE_MIN } from "./layout";

/** One hue, lighter to darker (darker to lighter on dark ground): order is readable without colour vision. */
export const SCALE: Readonly<Record<Theme, readonly string[]>> = {
  light: ["#e3ebf6", "#c3d6f0", "#9dbde8", "#73a0dd", "#4074c6", "#2b60b8", "#1a448f"],
  dark: ["#1b2635", "#1f3554", "#254878", "#2f5f9f", "#4781ca", "#6ea2e4", "#a5c9fb"],
};
const INK: Readonly<Record<Theme, { text: string; none: string; focus: string; onLow: string; onHigh: string }>> = {
  light: { text: "#5a6372", none: "#87909d", focus: "#1a1f27", onLow: "#1a1f27", onHigh: "#ffffff" },
  dark: { text: "#9ba5b4", none: "#6b7685", focus: "#ffffff", onLow: "#e6e9ee", onHigh: "#0e1116" },
};
const FONT = '"Inter Variable", system-ui, sans-serif';

/** What is written on a step: of the two inks the one that stands out more. */
export function inkOn(step: number, theme: Theme): string {
  const ground = SCALE[theme][step] as string;
  const { onLow, onHigh } = INK[theme];
  return contrast(onHigh, ground) > contrast(onLow, ground) ? onHigh : onLow;
}

function stepOf(share: number): number {
  return Math.max(0, Math.min(6, Math.floor(share * 7)));
}

export function draw(canvas: HTMLCanvasElement, layout: Layout, width: number, theme: Theme, at: number): void {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round((layout.height + 2) * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${layout.height + 2}px`;
  const ctx = canvas.getContext("2d");
  if (!ctx) return;
  const ink = INK[theme];
  ctx.scale(ratio, ratio);
  ctx.font = `500 11px ${FONT}`;
  ctx.fillStyle = ink.text;
  for (const label of layout.labels) ctx.fillText(label.text, label.x, label.y);
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  const { size } = layout;
  const onSteps = SCALE[theme].map((_, step) => inkOn(step, theme));
  layout.cells.forEach(({ cell, x, y }, index) => {
    ctx.beginPath();
    ctx.roundRect(x + 0.5, y + 0.5, size - 1, size - 1, Math.min(4, size / 5));
    const step = cell.share === null ? null : stepOf(cell.share);
    if (step === null) {
      // Nothing is known: an empty frame, which is not the colour of any value.
      ctx.setLineDash([3, 2]);
      ctx.strokeStyle = ink.none;
      ctx.stroke();
      ctx.setLineDash([]);
    } else {
      ctx.fillStyle = SCALE[theme][step] as string;
      ctx.fill();
    }
    if (size >= TEXT_SIZE_MIN) {
      ctx.fillStyle = step === null ? ink.text : (onSteps[step] as string);
      ctx.fillText(shortText(cell.text), x + size / 2, y + size / 2 + 0.5);
    }
    if (index === at) {
      ctx.lineWidth = 2;
      ctx.strokeStyle = ink.focus;
      ctx.stroke();
      ctx.lineWidth = 1;
    }
  });
}

/** `73 %` as `73`: the unit stands in the tip. */
function shortText(text: string): string {
  const [number = text] = text.split(" ");
  return number.length > 5 ? `${number.slice(0, 4)}…` : number;
}
