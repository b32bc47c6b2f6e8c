/** From an answer to what a chart draws: lines, the bands around them, their colours, the scale. Pure. */
import type { Answer, AnswerLine, Note } from "@/api/profiler-query";
import { formatMoment } from "@/lib/format";
import { runColor, runDash, type Theme } from "@/lib/run-color";
import type { Aligned } from "@/ui/chart/align";
import type { Line, Mark, Threshold } from "@/ui/chart/plot";
import { type Figures, figuresOf, gridded, isSilent } from "./grid";
import type { PanelSpec } from "./panels";
import { lineKey } from "./selection";
import { formatValue } from "./units";

export interface LegendLine {
  readonly key: string;
  /** Of the series, without the metric: what is isolated. */
  readonly series: string;
  readonly label: string;
  readonly color: string;
  readonly dash: readonly number[];
  readonly figures: Figures;
  readonly isShown: boolean;
}

export interface ChartModel {
  readonly data: Aligned;
  readonly lines: readonly Line[];
  readonly legend: readonly LegendLine[];
  readonly thresholds: readonly Threshold[];
  readonly rangeY: readonly [number, number] | undefined;
  /** Of the lines that are shown: for downloads. */
  readonly shown: readonly AnswerLine[];
}

/** With more lines than this their bands would hide each other. */
const BANDS_MAX = 3;
const MANY = 8;
const COLUMNS = 1000;
/** Of a panel's second metric, third, and so on: reading and writing of one machine have one colour. */
const DASHES: readonly (readonly number[] | undefined)[] = [undefined, [4, 3], [1, 3]];

export function chartModel(
  panel: PanelSpec,
  answer: Answer,
  only: ReadonlySet<string> | null,
  isolated: readonly string[],
  own: number | null,
  theme: Theme,
): ChartModel {
  const order = (line: AnswerLine) => panel.metrics.indexOf(line.metric);
  const all = answer.series
    .filter((line) => panel.metrics.includes(line.metric))
    .filter((line) => only === null || only.has(lineKey(line)))
    .sort((a, b) => order(a) - order(b) || byName(lineKey(a), lineKey(b)));
  const names = [...new Set(all.map(lineKey))].sort(byName);
  const isolating = isolated.some((key) => names.includes(key));
  const legend = all.map((line): LegendLine => {
    const series = lineKey(line);
    const word = panel.metrics.length > 1 ? panel.words[order(line)] : undefined;
    const place = names.indexOf(series);
    // A run has its own colour everywhere; other lines take the palette in order.
    const colored = line.run && (line.owner !== "" || line.client === "") ? line.run : String(place);
    return {
      key: `${line.metric} ${series}`,
      series,
      label: word ? `${series} ${word}` : series,
      color: runColor(colored, theme),
      dash: DASHES[order(line)] ?? runDash(colored),
      figures: figuresOf(line),
      isShown: !isolating || isolated.includes(series),
    };
  });
  const shown = all.filter((line, index) => legend[index]?.isShown === true && !isSilent(line));
  const looks = legend.filter((line, index) => line.isShown && !isSilent(all[index] as AnswerLine));
  const grid = gridded(answer, shown, COLUMNS);
  const hasBands = shown.length <= BANDS_MAX && shown.some(isSpread);
  const width = looks.length > MANY ? 1 : 1.5;
  const lines: Line[] = looks.map(({ key, label, color, dash }) => ({ key, label, color, dash, width }));
  const data: Aligned = [grid.at, ...grid.mean];
  if (hasBands)
    looks.forEach(({ key, label, color }, index) => {
      lines.push({ key: `${key} max`, label, color, width: 0, shadow: true, fillTo: `${key} min` });
      lines.push({ key: `${key} min`, label, color, width: 0, shadow: true });
      data.push(grid.max[index] ?? [], grid.min[index] ?? []);
    });
  const thresholds = thresholdsOf(panel, answer, own);
  return { data, lines, legend, thresholds, rangeY: rangeOf(panel, data, thresholds), shown };
}

function byName(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

function isSpread(line: AnswerLine): boolean {
  return line.max.some((value, index) => value !== (line.min[index] ?? null));
}

/** Those of the panel, the limit where all devices have the same, and a person's own. */
function thresholdsOf(panel: PanelSpec, answer: Answer, own: number | null): Threshold[] {
  const found: Threshold[] = panel.thresholds.map((one) => ({ ...one }));
  const limits = new Set(
    answer.series.filter((line) => line.metric === panel.limit).flatMap((line) => figuresOf(line).last ?? []),
  );
  const [limit] = limits;
  if (limits.size === 1 && limit !== undefined)
    found.push({ value: limit, text: `limit ${formatValue(limit, panel.unit)}` });
  if (own !== null) found.push({ value: own, text: `threshold ${formatValue(own, panel.unit)}` });
  return found;
}

const WHOLE = new Set([
  "gpu_utilization",
  "gpu_memory_utilization",
  "cpu_utilization",
  "train_share",
  "swap_share",
  "idle_share",
]);
/** The unit is a count of loads too, and those are means. */
const COUNTED = new Set(["samples_lost", "gpu_ecc_corrected", "gpu_ecc_uncorrected", "gpu_xid"]);

/** Things that are counted have whole ticks. */
export function isCounted(panel: PanelSpec): boolean {
  return panel.metrics.every((name) => COUNTED.has(name));
}

/** Of an axis of bytes that are all 0: its ticks are sizes that there are. */
const BYTES_LEAST = 2 ** 20;
/** A scale from 0 would hide what these do. */
const FLOATING = new Set(["celsius", "hertz", "seconds", "joules"]);

function rangeOf(
  panel: PanelSpec,
  data: Aligned,
  thresholds: readonly Threshold[],
): readonly [number, number] | undefined {
  if (panel.metrics.every((name) => WHOLE.has(name))) return [0, 1];
  let [min, max] = [Infinity, -Infinity];
  for (const line of data.slice(1))
    for (const value of line) {
      if (value === null || value === undefined) continue;
      if (value < min) min = value;
      if (value > max) max = value;
    }
  if (min > max) return [0, 1];
  // A threshold that is not far is worth seeing.
  for (const { value } of thresholds) if (value > max && value <= max * 1.6) max = value;
  if (FLOATING.has(panel.unit) || min < 0) return max > min ? undefined : around(min);
  return [0, max > 0 ? max * 1.08 : panel.unit.startsWith("bytes") ? BYTES_LEAST : 1];
}

/** Around a value that does not change, so that it lies in the middle and the ticks can be told apart. */
function around(value: number): readonly [number, number] {
  const pad = Math.abs(value) * 0.05 || 1;
  return [value - pad, value + pad];
}

const MARKS_MAX = 60;
const WORD_CHARS_MAX = 24;

/** Vertical lines for what happened, each with what was done to whom; the tip has the whole sentence. */
export function marksOf(
  notes: readonly Note[],
  kinds: readonly string[],
  range: readonly [number, number] | null,
  theme: Theme,
): Mark[] {
  const [from] = range ?? [0, 0];
  const shown = notes.filter((note) => kinds.includes(note.kind) && note.at >= from).slice(-MARKS_MAX);
  return shown.map((note) => ({
    at: note.at,
    text: markWord(note),
    title: `${formatMoment(note.at)} ${note.text || note.kind}`,
    ...(note.kind === "failure" ? { color: theme === "dark" ? "#ff8a66" : "#b3300f" } : {}),
  }));
}

/** `stop r1`, `r2 failed`, `left gone`: the verb and whom it is about, out of the sentence that the host says. */
export function markWord({ kind, text, run, client }: Note): string {
  const [, subject = "", verb = ""] = /^(?:experiment )?([^:]+): (\w+) requested/.exec(text) ?? [];
  if (verb) return shortened(`${verb} ${subject}`);
  const [, submitted] = /^experiment (.+) was submitted/.exec(text) ?? [];
  if (submitted) return shortened(`submit ${submitted}`);
  if (kind === "op" && client) return `${text.includes("takes no more work") ? "drain" : "resume"} ${client}`;
  if (kind === "failure") return run ? `${run} failed` : shortened(text.replace(/ failed.*/s, " failed"));
  if (kind === "client" && client) return `${client} ${/ is (here|gone)/.exec(text)?.[1] ?? "used by others"}`;
  return run ? `${kind} ${run}` : kind;
}

function shortened(text: string): string {
  return text.length > WORD_CHARS_MAX ? `${text.slice(0, WORD_CHARS_MAX - 1)}…` : text;
}
