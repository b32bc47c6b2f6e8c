/** Colours of the Gantt that CSS cannot give to a canvas. Parts differ in their pattern, too. */
import type { Theme } from "@/lib/run-color";

export interface Ink {
  readonly text: string;
  readonly strong: string;
  readonly grid: string;
  readonly lane: string;
  readonly band: string;
  readonly onBar: string;
  readonly hatch: string;
  readonly hatchGround: string;
  readonly fail: string;
  readonly focus: string;
  readonly train: string;
  readonly evaluate: string;
  readonly use: string;
}

export const INK: Readonly<Record<Theme, Ink>> = {
  light: {
    text: "#5a6372",
    strong: "#1a1f27",
    grid: "#e7eaee",
    lane: "#ffffff",
    band: "#f6f7f9",
    onBar: "#ffffff",
    hatch: "#6b7583",
    hatchGround: "#dfe3e8",
    fail: "#b3300f",
    focus: "#1a1f27",
    train: "#4a80cf",
    evaluate: "#9dbde8",
    use: "#c2500a",
  },
  dark: {
    text: "#9ba5b4",
    strong: "#e6e9ee",
    grid: "#222932",
    lane: "#151a21",
    band: "#181e26",
    onBar: "#0e1116",
    hatch: "#8b96a5",
    hatchGround: "#2b333e",
    fail: "#ff8a66",
    focus: "#ffffff",
    train: "#447dc6",
    evaluate: "#254878",
    use: "#ff9d5c",
  },
};

export const FONT = '"Inter Variable", system-ui, sans-serif';

/** Slanted lines on grey: a slot that is being set up. */
export function hatching(ctx: CanvasRenderingContext2D, ink: Ink): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const brush = tile.getContext("2d");
  if (!brush) return ink.hatchGround;
  brush.fillStyle = ink.hatchGround;
  brush.fillRect(0, 0, 6, 6);
  brush.strokeStyle = ink.hatch;
  brush.lineWidth = 1.2;
  brush.beginPath();
  for (const shift of [-6, 0, 6]) {
    brush.moveTo(shift, 6);
    brush.lineTo(shift + 6, 0);
  }
  brush.stroke();
  return ctx.createPattern(tile, "repeat") ?? ink.hatchGround;
}
