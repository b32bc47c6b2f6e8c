/** Which lines are shown, and what in them was looked for. Pure. */
import type { LogLine } from "./log-buffer";

export type Level = "all" | "info" | "warning" | "error";

const RANKS: Readonly<Record<string, number>> = { debug: 0, info: 1, warning: 2, warn: 2, error: 3, critical: 4 };
const LEAST: Readonly<Record<Level, number>> = { all: 0, info: 1, warning: 2, error: 3 };

/** A level that nobody knows counts as information. */
export function isAtLeast(level: string, least: Level): boolean {
  return (RANKS[level.toLowerCase()] ?? 1) >= LEAST[least];
}

export interface Search {
  /** `null`: nothing is looked for. */
  readonly pattern: RegExp | null;
  /** Why the text is no search. */
  readonly problem: string | null;
}

const NO_SEARCH: Search = { pattern: null, problem: null };

/** Words as they are, in any case unless one is a capital; a regular expression between slashes. */
export function parseSearch(text: string): Search {
  if (text === "") return NO_SEARCH;
  const expression = /^\/(.+)\/$/s.exec(text)?.[1];
  const source = expression ?? text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  try {
    return { pattern: new RegExp(source, /\p{Lu}/u.test(text) ? "gu" : "giu"), problem: null };
  } catch {
    return { pattern: null, problem: "This is no regular expression" };
  }
}

export interface Shown {
  readonly lines: readonly LogLine[];
  /** Places in `lines` of those that were found. */
  readonly found: readonly number[];
}

export function shownLines(lines: readonly LogLine[], level: Level, search: Search, onlyFound: boolean): Shown {
  const { pattern } = search;
  const loud = level === "all" ? lines : lines.filter((line) => isAtLeast(line.level, level));
  if (pattern === null) return { lines: loud, found: [] };
  if (onlyFound) {
    const matching = loud.filter((line) => holds(pattern, line.text));
    return { lines: matching, found: matching.map((_, index) => index) };
  }
  const found: number[] = [];
  loud.forEach((line, index) => {
    if (holds(pattern, line.text)) found.push(index);
  });
  return { lines: loud, found };
}

function holds(pattern: RegExp, text: string): boolean {
  pattern.lastIndex = 0;
  return pattern.test(text);
}

export interface Part {
  readonly text: string;
  readonly isFound: boolean;
}

const PARTS_MAX = 200;

/** A line cut at what was found in it. */
export function partsOf(text: string, { pattern }: Search): Part[] {
  if (pattern === null) return [{ text, isFound: false }];
  const parts: Part[] = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (parts.length >= PARTS_MAX) break;
    if (match[0] === "") continue;
    if (match.index > end) parts.push({ text: text.slice(end, match.index), isFound: false });
    parts.push({ text: match[0], isFound: true });
    end = match.index + match[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end), isFound: false });
  return parts;
}

/** The found line behind (or before) a place, around the end; `null` where none was found. */
export function nextFound(found: readonly number[], from: number, direction: 1 | -1): number | null {
  if (found.length === 0) return null;
  if (direction === 1) return found.find((place) => place > from) ?? (found[0] as number);
  return found.findLast((place) => place < from) ?? (found.at(-1) as number);
}
