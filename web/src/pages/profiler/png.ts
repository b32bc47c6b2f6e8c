/** A panel as a picture: its title, its chart, its legend. */
import { download } from "@/lib/download";
import type { LegendLine } from "./chart-model";

const PAD = 12;
const TITLE = 28;
const LINE = 18;
const LEGEND_MAX = 24;

export function downloadPng(
  name: string,
  title: string,
  chart: HTMLCanvasElement,
  legend: readonly LegendLine[],
): void {
  const ratio = window.devicePixelRatio || 1;
  const style = getComputedStyle(document.documentElement);
  const probe = getComputedStyle(chart.closest("section") ?? document.body);
  const width = chart.width / ratio + 2 * PAD;
  const shown = legend.filter((line) => line.isShown).slice(0, LEGEND_MAX);
  const height = PAD + TITLE + chart.height / ratio + shown.length * LINE + PAD;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const ctx = canvas.getContext("2d");
  if (!ctx) return;
  ctx.scale(ratio, ratio);
  ctx.fillStyle = probe.backgroundColor;
  ctx.fillRect(0, 0, width, height);
  ctx.fillStyle = probe.color;
  ctx.textBaseline = "middle";
  ctx.font = `600 13px ${style.fontFamily}`;
  ctx.fillText(title, PAD, PAD + TITLE / 2 - 4);
  ctx.drawImage(chart, PAD, PAD + TITLE, chart.width / ratio, chart.height / ratio);
  ctx.font = `12px ${style.fontFamily}`;
  shown.forEach((line, index) => {
    const y = PAD + TITLE + chart.height / ratio + index * LINE + LINE / 2;
    ctx.fillStyle = line.color;
    ctx.fillRect(PAD, y - 4, 10, 8);
    ctx.fillStyle = probe.color;
    ctx.fillText(line.label, PAD + 16, y);
  });
  canvas.toBlob((content) => content && download(name, content), "image/png");
}
