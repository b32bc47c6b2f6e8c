import { expect, test } from "vitest";
import type { LogLine } from "./log-buffer";
import { isAtLeast, nextFound, parseSearch, partsOf, shownLines } from "./log-search";

function line(number: number, text: string, level = "info"): LogLine {
  return { key: `r1:${number}`, run: "r1", line: number, at: number, order: number, level, text };
}

const LINES = [
  line(1, "loss 1.5"),
  line(2, "Gradient norm", "warning"),
  line(3, "loss 1.25 (best)"),
  line(4, "Traceback", "error"),
];

test("words are looked for as they are, in any case until one is a capital", () => {
  const found = (text: string) => shownLines(LINES, "all", parseSearch(text), false).found;
  expect(found("LOSS")).toEqual([]);
  expect(found("loss")).toEqual([0, 2]);
  expect(found("gradient")).toEqual([1]);
  expect(found("1.5")).toEqual([0]);
  expect(found("(best)")).toEqual([2]);
  expect(found("")).toEqual([]);
});

test("an expression stands between slashes, and a broken one finds nothing but says so", () => {
  expect(shownLines(LINES, "all", parseSearch("/loss 1\\.\\d5/"), false).found).toEqual([2]);
  expect(parseSearch("/(/")).toEqual({ pattern: null, problem: "This is no regular expression" });
});

test("lines are left out by level, and by what is looked for", () => {
  const numbers = (...args: Parameters<typeof shownLines>) => shownLines(...args).lines.map((one) => one.line);
  expect(numbers(LINES, "warning", parseSearch(""), false)).toEqual([2, 4]);
  expect(numbers(LINES, "all", parseSearch("loss"), true)).toEqual([1, 3]);
  expect(shownLines(LINES, "all", parseSearch("loss"), true).found).toEqual([0, 1]);
  expect(numbers(LINES, "all", parseSearch(""), true)).toEqual([1, 2, 3, 4]);
});

test("a level that nobody knows is information", () => {
  expect([isAtLeast("notice", "info"), isAtLeast("notice", "warning"), isAtLeast("CRITICAL", "error")]).toEqual([
    true,
    false,
    true,
  ]);
});

test("a line is cut at what was found, and nothing of it is lost", () => {
  const parts = partsOf("a loss, a Loss", parseSearch("loss"));
  expect(parts.map((part) => part.text).join("")).toBe("a loss, a Loss");
  expect(parts.filter((part) => part.isFound).map((part) => part.text)).toEqual(["loss", "Loss"]);
  expect(partsOf("abc", parseSearch("/x*/"))).toEqual([{ text: "abc", isFound: false }]);
});

test("a line that is found a thousand times keeps its end", () => {
  const text = "ab".repeat(1000);
  const parts = partsOf(text, parseSearch("a"));
  expect(parts.length).toBeLessThanOrEqual(202);
  expect(parts.map((part) => part.text).join("")).toBe(text);
});

test("the search goes around the end", () => {
  expect([nextFound([2, 5, 9], 5, 1), nextFound([2, 5, 9], 9, 1), nextFound([2, 5, 9], 2, -1)]).toEqual([9, 2, 9]);
  expect(nextFound([], 0, 1)).toBeNull();
});
