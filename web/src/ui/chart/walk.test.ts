import { expect, test } from "vitest";
import { walked, zoomedBy } from "./walk";

const XS = [0, 10, 20, 30, 40, 50];
const ALL = [0, 50] as const;

test("arrow keys walk over the values in sight, and stop at the ends", () => {
  expect(walked(XS, null, "ArrowRight", ALL, false)).toBe(0);
  expect(walked(XS, null, "ArrowLeft", ALL, false)).toBe(5);
  expect(walked(XS, 2, "ArrowRight", ALL, false)).toBe(3);
  expect(walked(XS, 2, "ArrowRight", [15, 25], false)).toBe(2);
  expect(walked(XS, 2, "ArrowLeft", ALL, true)).toBe(0);
});

test("Home and End are the first and the last in sight", () => {
  expect([walked(XS, 3, "Home", [5, 45], false), walked(XS, 3, "End", [5, 45], false)]).toEqual([1, 4]);
});

test("other keys and charts of nothing move nothing", () => {
  expect(walked(XS, 3, "x", ALL, false)).toBeNull();
  expect(walked([], null, "Home", ALL, false)).toBeNull();
  expect(walked(XS, 3, "Home", [11, 19], false)).toBeNull();
});

test("+ and - zoom around the cursor, and - ends where all is shown", () => {
  expect(zoomedBy("+", [0, 40], 10, XS)).toEqual([5, 25]);
  expect(zoomedBy("-", [10, 20], null, XS)).toEqual([5, 25]);
  expect(zoomedBy("-", [5, 45], null, XS)).toBeNull();
  expect(zoomedBy("a", ALL, null, XS)).toBeUndefined();
});
