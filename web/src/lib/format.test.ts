import { expect, test } from "vitest";
import {
  formatAgo,
  formatBytes,
  formatCompact,
  formatDuration,
  formatMetric,
  formatMoment,
  formatNumber,
  formatPercent,
  formatSetting,
  NONE,
  plural,
} from "./format";

test("what is not known is never 0", () => {
  for (const format of [formatNumber, formatMetric, formatPercent, formatBytes, formatCompact, formatDuration]) {
    expect([format(null), format(undefined), format(Number.NaN), format(Infinity)]).toEqual([NONE, NONE, NONE, NONE]);
    expect(format(0)).not.toBe(NONE);
  }
});

test.each([
  [0.0002, "2.00e-4"],
  [0, "0"],
  [1.23456, "1.235"],
  [120, "120"],
  [2_500_000, "2.50e6"],
])("number %f is %s", (value, text) => expect(formatNumber(value)).toBe(text));

test.each([
  [0.34, "340 ms"],
  [9.96, "10.0 s"],
  [12.4, "12 s"],
  [59.7, "60 s"],
  [250, "4 min 10 s"],
  [3599.6, "1 h 00 min"],
  [11_100, "3 h 05 min"],
  [187_200, "2 d 4 h"],
  [-3, "-3.0 s"],
])("%f seconds are %s", (seconds, text) => expect(formatDuration(seconds)).toBe(text));

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [150 * 1024 ** 3, "150 GiB"],
])("%i bytes are %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test("how long ago", () => {
  expect([2, 40, 300, 7200, 200_000].map((ago) => formatAgo(1e9 - ago, 1e9))).toEqual([
    "just now",
    "40 s ago",
    "5 min ago",
    "2 h ago",
    "2 d ago",
  ]);
});

test("a moment names the day unless it is today, and the year unless it is this one", () => {
  const at = new Date(2026, 10, 23, 9, 10, 12).getTime() / 1000;
  const now = (...parts: [number, number, number]) => new Date(...parts, 1).getTime() / 1000;
  expect(formatMoment(at, now(2026, 10, 23))).toBe("09:10:12");
  expect(formatMoment(at, now(2026, 10, 24))).toBe("11-23 09:10:12");
  expect(formatMoment(at, now(2027, 10, 23))).toBe("2026-11-23 09:10:12");
  expect(formatMoment(null, at)).toBe(NONE);
});

test.each([
  ["5e-05", "5e-5"],
  ["0.0003", "3e-4"],
  ["3.00e-4", "3e-4"],
  [0.00025, "2.5e-4"],
  [0.002, "0.002"],
  ["0.10", "0.1"],
  ["1e3", "1000"],
  ["0.0", "0"],
  [16, "16"],
  ["20240101123456789012", "20240101123456789012"],
  ["007", "007"],
  ["1e-05,0.5,all", "1e-5,0.5,all"],
  ["cosine", "cosine"],
  ["1e999", "1e999"],
  ["", ""],
])("setting %s is %s", (value, text) => expect(formatSetting(value)).toBe(text));

test("one and many", () => expect([plural(1, "run"), plural(1200, "run")]).toEqual(["1 run", "1,200 runs"]));

test.each([
  [0, "0"],
  [999, "999"],
  [12.345, "12.3"],
  [6_440_000, "6.44 M"],
  [513_657, "514 k"],
  [-2_500, "-2.5 k"],
])("%f is short as %s", (value, text) => expect(formatCompact(value)).toBe(text));

test("a power of a thousand is its unit's prefix", () => {
  expect([1430, 300, 2.5e6].map((watts) => formatCompact(watts, "W"))).toEqual(["1.43 kW", "300 W", "2.5 MW"]);
  expect(formatCompact(null, "W")).toBe(NONE);
});
