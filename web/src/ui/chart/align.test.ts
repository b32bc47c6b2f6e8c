import { expect, test } from "vitest";
import { align, type Curve, EXACT_MAX } from "./align";

test("curves of different steps on one axis, gaps as gaps", () => {
  const [x, a, b] = align([
    { key: "a", x: [1, 3], y: [10, null] },
    { key: "b", x: [2, 3], y: [20, 30] },
  ]);
  expect(x).toEqual([1, 2, 3]);
  expect(a).toEqual([10, undefined, null]);
  expect(b).toEqual([undefined, 20, 30]);
});

test("no curves are an empty chart", () => expect(align([])).toEqual([[]]));

function long(key: string, offset: number, spikeAt: number): Curve {
  const x = Array.from({ length: EXACT_MAX }, (_, index) => index * 2 + offset);
  return { key, x, y: x.map((_, index) => (index === spikeAt ? 99 : Math.sin(index / 50))) };
}

test("of many steps every spike stays, on an axis that only grows", () => {
  const [x, a, b] = align([long("a", 0, 1234), long("b", 1, 17)], 500);
  expect(x.length).toBe(1000);
  expect(x.every((value, index) => index === 0 || value > (x[index - 1] as number))).toBe(true);
  for (const line of [a, b]) {
    expect(Math.max(...(line ?? []).filter((value) => value != null))).toBe(99);
    expect(Math.min(...(line ?? []).filter((value) => value != null))).toBeCloseTo(-1, 3);
  }
  const at = x[(a ?? []).indexOf(99)] as number;
  expect(Math.abs(at - 1234 * 2)).toBeLessThan(20);
});

test("a gap of many steps stays a gap", () => {
  const curve = long("a", 0, 0);
  const holed = { ...curve, y: curve.y.map((value, index) => (index > 1000 && index < 2000 ? null : value)) };
  const [, line = []] = align([holed, long("b", 1, 0)], 500);
  expect(line.filter((value) => value === null).length).toBeGreaterThan(100);
});
