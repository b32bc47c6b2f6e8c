import { expect, it } from "vitest";
import { formatTick, formatValue, typedScale } from "./units";

it.each([
  [0.9153, "ratio", "91.5 %"],
  [0.00421, "ratio", "0.42 %"],
  [141 * 2 ** 30, "bytes", "141 GiB"],
  [60e9, "bytes_per_second", "55.9 GiB/s"],
  [687.4, "watts", "687 W"],
  [3.6e6, "joules", "1 kWh"],
  [71.26, "celsius", "71.3 °C"],
  [1.98e9, "hertz", "1.98 GHz"],
  [0.0004, "seconds", "400 µs"],
  [0.42, "seconds", "420 ms"],
  [19_500, "per_second", "19.5 k/s"],
  [12, "per_second", "12/s"],
  [0, "count", "0"],
  [0, "bitmask", "none"],
  [4 + 64, "bitmask", "power cap, thermal (hardware)"],
  [4096, "bitmask", "0x1000"],
  [3, "a unit of tomorrow", "3"],
])("%d %s is %s", (value, unit, text) => expect(formatValue(value, unit)).toBe(text));

it("says of what nobody knows that it is not known", () => {
  for (const value of [null, undefined, Number.NaN, Infinity]) expect(formatValue(value, "watts")).toBe("–");
});

it("takes thresholds in the units that are shown", () => {
  expect(70 * typedScale("ratio").factor).toBeCloseTo(0.7);
  expect(typedScale("bytes").text).toBe("GiB");
});

it.each([
  ["hertz", 1.9795e9, 250_000],
  ["ratio", 0.9, 0.0025],
  ["watts", 1_400, 2.5],
  ["celsius", 71, 0.25],
  ["bytes", 2 ** 30, 2 ** 26],
  ["bytes_per_second", 5 * 2 ** 30, 2 ** 24],
  ["seconds", 0.42, 0.0005],
  ["per_second", 33_500, 20],
  ["joules", 3.6e6, 900],
  ["count", 5.846, 0.0005],
])("no two ticks of %s say the same", (unit, from, step) => {
  const texts = [0, 1, 2, 3, 4].map((place) => formatTick(from + place * step, unit, step));
  expect(new Set(texts).size).toBe(5);
});

it("ticks say no more than they must", () => {
  expect([0, 0.25, 0.5].map((value) => formatTick(value, "ratio", 0.25))).toEqual(["0 %", "25 %", "50 %"]);
  expect([2 ** 29, 2 ** 30].map((value) => formatTick(value, "bytes", 2 ** 29))).toEqual(["512 MiB", "1 GiB"]);
  expect([500, 1000].map((value) => formatTick(value, "watts", 500))).toEqual(["500 W", "1 kW"]);
});
