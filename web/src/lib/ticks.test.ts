import { describe, expect, it, test } from "vitest";
import {
  decimalsOf,
  DURATION_STEPS_S,
  durationTick,
  logSplits,
  numberTick,
  siTick,
  stepAt,
  WHOLE_STEPS,
} from "./ticks";

function ticks(from: number, step: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => from + index * step);
}

test.each([
  [1, 0],
  [2.5, 1],
  [0.25, 2],
  [0.1, 1],
  [0.0005, 4],
  [250, 0],
])("a step of %f has %i decimals", (step, decimals) => expect(decimalsOf(step)).toBe(decimals));

describe("no two ticks say the same", () => {
  test.each([
    [5.8455, 0.0002],
    [0.00001, 0.0000025],
    [1_980_000, 500],
    [0, 2.5],
    [0.9, 0.05],
  ])("from %f by %f", (from, step) => {
    const texts = ticks(from, step, 6).map((value) => numberTick(value, step));
    expect(new Set(texts).size).toBe(6);
  });

  it("of clocks, too", () => {
    const texts = ticks(1.978e9, 1e6, 5).map((value) => siTick(value, 1e6, "Hz"));
    expect(texts).toEqual(["1.978 GHz", "1.979 GHz", "1.98 GHz", "1.981 GHz", "1.982 GHz"]);
  });
});

test("numbers line up", () => {
  expect([5.84, 5.845, 5.85].map((value) => numberTick(value, 0.005))).toEqual(["5.840", "5.845", "5.850"]);
  expect([1e6, 1.25e6].map((value) => numberTick(value, 250_000))).toEqual(["1 M", "1.25 M"]);
  expect(numberTick(2.5e-5, 5e-6)).toBe("2.5e-5");
});

describe("elapsed time", () => {
  it("is told in the parts that it has", () => {
    expect([0, 45, 60, 90].map((at) => durationTick(at, 15))).toEqual(["0", "45 s", "1 min", "1 min 30 s"]);
    expect([3600, 5400, 90_000].map((at) => durationTick(at, 1800))).toEqual(["1 h", "1 h 30 min", "1 d 1 h"]);
    expect([0.25, 1.5].map((at) => durationTick(at, 0.05))).toEqual(["250 ms", "1.5 s"]);
    expect(durationTick(-5, 5)).toBe("-5 s");
  });

  it("has steps of clocks", () => {
    for (const step of [1, 5, 15, 60, 300, 900, 3600, 86_400]) expect(DURATION_STEPS_S).toContain(step);
    expect(DURATION_STEPS_S).not.toContain(100);
  });
});

test("counted things have whole steps", () => {
  expect(WHOLE_STEPS.slice(0, 6)).toEqual([1, 2, 5, 10, 20, 50]);
  expect(WHOLE_STEPS.every(Number.isInteger)).toBe(true);
});

describe("a logarithmic axis", () => {
  it("of less than a decade has ticks all the same", () => {
    expect(logSplits(5.38, 5.95)).toEqual([5.4, 5.6, 5.8]);
    expect(logSplits(2, 9)).toEqual([2, 4, 6, 8]);
  });

  it("of some decades has 1, 2 and 5 of each, of many their powers", () => {
    expect(logSplits(0.08, 3)).toEqual([0.1, 0.2, 0.5, 1, 2]);
    expect(logSplits(1e-6, 1e2)).toEqual([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100]);
    expect(logSplits(1e-20, 1e10).length).toBeLessThan(12);
  });

  it("says each tick as exactly as its neighbours ask for", () => {
    const splits = [0.1, 0.2, 0.5, 1, 2];
    expect(splits.map((value, index) => numberTick(value, stepAt(splits, index)))).toEqual([
      "0.1",
      "0.2",
      "0.5",
      "1.0",
      "2",
    ]);
  });
});
