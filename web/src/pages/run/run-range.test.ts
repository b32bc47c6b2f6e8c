import { expect, test } from "vitest";
import { timeRangeText } from "@/lib/time-range";
import { runRange } from "./run-range";

test("a run that goes on has the time from its begin to now", () => {
  expect(runRange({ created_at: 1000, ended_at: null }, 2000)).toEqual({ kind: "last", seconds: 1800 });
  expect(timeRangeText(runRange({ created_at: 1000, ended_at: null }, 2000))).toBe("30m");
});

test("one that ended keeps its own, however long ago that was", () => {
  expect(runRange({ created_at: 1000, ended_at: 1500 }, 900_000)).toEqual({ kind: "fixed", from: 1000, to: 1501 });
});

test("the host answers no more than thirty days", () => {
  expect(runRange({ created_at: 1, ended_at: null }, 1e9)).toEqual({ kind: "last", seconds: 2_592_000 });
  expect(runRange({ created_at: 1, ended_at: 1e9 }, 2e9)).toEqual({
    kind: "fixed",
    from: 1e9 - 2_592_000,
    to: 1e9 + 1,
  });
});
