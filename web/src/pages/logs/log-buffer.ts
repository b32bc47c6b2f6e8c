/** Lines of several runs in one list, by time and then in each run's own order. Pure. */
import type { LogLineView } from "@/api/logs";
import { plainText } from "./plain-text";

export interface LogLine {
  /** `r1:17`, as it stands in an address. */
  readonly key: string;
  readonly run: string;
  readonly line: number;
  readonly at: number;
  /** Never less than that of the run's line before: a clock that was put back moves no line. */
  readonly order: number;
  readonly level: string;
  readonly text: string;
}

export interface LogBuffer {
  readonly lines: readonly LogLine[];
  /** Older lines that were let go. */
  readonly dropped: number;
  /** Of each run's newest line. */
  readonly newest: Readonly<Record<string, { readonly line: number; readonly order: number }>>;
}

export const LINES_MAX = 100_000;
export const EMPTY_BUFFER: LogBuffer = { lines: [], dropped: 0, newest: {} };

/** With more lines of one run, which are newer than those that are there. What was there before is left out. */
export function withLines(
  buffer: LogBuffer,
  run: string,
  views: readonly LogLineView[],
  linesMax = LINES_MAX,
): LogBuffer {
  let { line: newest = 0, order = -Infinity } = buffer.newest[run] ?? {};
  const added: LogLine[] = [];
  for (const { line, at, level, text } of views) {
    if (line <= newest) continue;
    newest = line;
    order = Math.max(order, at);
    added.push({ key: `${run}:${line}`, run, line, at, order, level, text: plainText(text) });
  }
  if (added.length === 0) return buffer;
  const all = merged(buffer.lines, added);
  const over = Math.max(0, all.length - linesMax);
  return {
    lines: over > 0 ? all.slice(over) : all,
    dropped: buffer.dropped + over,
    newest: { ...buffer.newest, [run]: { line: newest, order } },
  };
}

/** Both are in order; where they are equal the older list's lines come first. */
function merged(old: readonly LogLine[], added: readonly LogLine[]): LogLine[] {
  const first = (added[0] as LogLine).order;
  let start = old.length;
  while (start > 0 && (old[start - 1] as LogLine).order > first) start -= 1;
  const result = old.slice(0, start);
  let place = start;
  for (const line of added) {
    for (; place < old.length && (old[place] as LogLine).order <= line.order; place += 1)
      result.push(old[place] as LogLine);
    result.push(line);
  }
  for (; place < old.length; place += 1) result.push(old[place] as LogLine);
  return result;
}

/** Without the runs that are not looked at any more. */
export function onlyRuns(buffer: LogBuffer, runs: readonly string[]): LogBuffer {
  const names = Object.keys(buffer.newest);
  if (names.every((name) => runs.includes(name))) return buffer;
  return {
    lines: buffer.lines.filter((line) => runs.includes(line.run)),
    dropped: 0,
    newest: Object.fromEntries(Object.entries(buffer.newest).filter(([name]) => runs.includes(name))),
  };
}
