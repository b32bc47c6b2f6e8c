import { describe, expect, it } from "vitest";
import {
  fixedRange,
  fromLocalText,
  localText,
  parseTimeRange,
  PRESETS,
  rangeParams,
  resolved,
  shifted,
  timeRangeCodec,
  timeRangeText,
  zoomedOut,
} from "./time-range";

const NOW = 1_800_000_000;

describe("a range of time in an address", () => {
  it("is read as it was written, for every preset and for moments", () => {
    for (const [text, seconds] of PRESETS) {
      expect(parseTimeRange(text)).toEqual({ kind: "last", seconds });
      expect(timeRangeText({ kind: "last", seconds })).toBe(text);
    }
    const fixed = fixedRange(NOW - 12.345, NOW);
    expect(parseTimeRange(timeRangeText(fixed))).toEqual(fixed);
    expect(parseTimeRange("90s")).toEqual({ kind: "last", seconds: 90 });
  });

  it("falls back where it makes no sense", () => {
    const codec = timeRangeCodec("15m");
    for (const text of ["", "x", "0m", "5~1", "1~2~3", "~", "NaN~NaN", "99999d", "-5~-1", "1~1e99"])
      expect(codec.read(text)).toEqual({ kind: "last", seconds: 900 });
    expect(codec.write({ kind: "last", seconds: 900 })).toBeNull();
    expect(codec.write({ kind: "last", seconds: 3600 })).toBe("1h");
  });

  it("goes to the host as seconds before now, or as moments", () => {
    expect(rangeParams({ kind: "last", seconds: 300 })).toEqual({ from: -300, to: 0 });
    expect(rangeParams({ kind: "fixed", from: 5, to: 9 })).toEqual({ from: 5, to: 9 });
  });
});

describe("moving through time", () => {
  it("zooms out to twice the length, and not into the future", () => {
    expect(resolved(zoomedOut({ kind: "last", seconds: 600 }, NOW), NOW)).toEqual([NOW - 1200, NOW]);
    expect(resolved(zoomedOut({ kind: "fixed", from: NOW - 1000, to: NOW - 900 }, NOW), NOW)).toEqual([
      NOW - 1050,
      NOW - 850,
    ]);
  });

  it("shifts by half a length, later only up to now", () => {
    expect(resolved(shifted({ kind: "last", seconds: 600 }, -1, NOW), NOW)).toEqual([NOW - 900, NOW - 300]);
    expect(resolved(shifted({ kind: "fixed", from: NOW - 700, to: NOW - 100 }, 1, NOW), NOW)).toEqual([NOW - 600, NOW]);
  });

  it("keeps a range long enough to look at", () => {
    const { from, to } = rangeParams(fixedRange(NOW, NOW + 0.01));
    expect(to - from).toBe(1);
  });
});

it("local date fields keep the moment to the second", () => {
  expect(fromLocalText(localText(NOW))).toBe(NOW);
  expect(fromLocalText("")).toBeNull();
});
