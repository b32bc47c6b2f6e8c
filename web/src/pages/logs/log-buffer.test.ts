import { expect, test } from "vitest";
import type { LogLineView } from "@/api/logs";
import { EMPTY_BUFFER, LINES_MAX, onlyRuns, withLines } from "./log-buffer";

function line(number: number, at: number, text = `line ${number}`): LogLineView {
  return { line: number, at, level: "info", text };
}

function keys(buffer: { lines: readonly { key: string }[] }): string[] {
  return buffer.lines.map((one) => one.key);
}

test("lines of two runs stand by time", () => {
  const one = withLines(EMPTY_BUFFER, "r1", [line(1, 10), line(2, 30)]);
  const both = withLines(one, "r2", [line(1, 5), line(2, 20), line(3, 40)]);
  expect(keys(both)).toEqual(["r2:1", "r1:1", "r2:2", "r1:2", "r2:3"]);
});

test("a clock that was put back moves no line of its run", () => {
  const buffer = withLines(EMPTY_BUFFER, "r1", [line(1, 10), line(2, 4), line(3, 11)]);
  expect(keys(buffer)).toEqual(["r1:1", "r1:2", "r1:3"]);
  expect(keys(withLines(buffer, "r1", [line(4, 2)]))).toEqual(["r1:1", "r1:2", "r1:3", "r1:4"]);
});

test("lines that are there already are left out, and nothing new changes nothing", () => {
  const buffer = withLines(EMPTY_BUFFER, "r1", [line(1, 1), line(2, 2)]);
  expect(keys(withLines(buffer, "r1", [line(2, 2), line(3, 3)]))).toEqual(["r1:1", "r1:2", "r1:3"]);
  expect(withLines(buffer, "r1", [line(1, 1)])).toBe(buffer);
});

test("the oldest lines make room for new ones, and are counted", () => {
  const first = withLines(
    EMPTY_BUFFER,
    "r1",
    Array.from({ length: LINES_MAX }, (_, index) => line(index + 1, index)),
  );
  expect([first.lines.length, first.dropped]).toEqual([LINES_MAX, 0]);
  const next = withLines(first, "r1", [line(LINES_MAX + 1, LINES_MAX), line(LINES_MAX + 2, LINES_MAX)]);
  expect([next.lines.length, next.dropped, next.lines[0]?.line]).toEqual([LINES_MAX, 2, 3]);
});

test("a run that is not looked at any more leaves with its lines", () => {
  const both = withLines(withLines(EMPTY_BUFFER, "r1", [line(1, 1)]), "r2", [line(1, 2)]);
  const rest = onlyRuns(both, ["r2"]);
  expect([keys(rest), Object.keys(rest.newest)]).toEqual([["r2:1"], ["r2"]]);
  expect(onlyRuns(both, ["r1", "r2"])).toBe(both);
});

test("what a terminal would obey is text", () => {
  const [shown] = withLines(EMPTY_BUFFER, "r1", [line(1, 1, "\x1b[31mred\x1b[0m <b>bold</b>\rover")]).lines;
  expect(shown?.text).toBe("red <b>bold</b>\u240dover");
});
