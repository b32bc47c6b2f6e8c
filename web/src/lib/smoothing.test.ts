import { expect, test } from "vitest";
import { smooth } from "./smoothing";

test("no weight changes nothing", () => expect(smooth([3, null, 1], 0)).toEqual([3, null, 1]));

test("a constant stays what it is from the first value on", () => {
  for (const value of smooth([2, 2, 2, 2], 0.9)) expect(value).toBeCloseTo(2, 12);
});

test("gaps stay gaps and weigh nothing", () => {
  const [first, gap, second] = smooth([4, null, 2], 0.5);
  expect([first, gap]).toEqual([4, null]);
  expect(second).toBeCloseTo((0.25 * 4 + 0.5 * 2) / 0.75, 12);
});

test("a spike becomes smaller and comes no earlier", () => {
  const flat = smooth([1, 1, 1, 10, 1, 1], 0.8) as number[];
  expect(flat[2]).toBeCloseTo(1, 12);
  expect(flat[3]).toBeGreaterThan(1);
  expect(flat[3]).toBeLessThan(10);
});
