import { expect, test } from "vitest";
import { marksAt, tipText } from "./chart-tip";

const TIP = { index: 1, left: 0, top: 0, width: 300, value: 2, x: 10, xPerPx: 0.5, focused: -1 };
const MARKS = [
  { at: 12.5, text: "stop r1", title: "r1: stop requested by anna" },
  { at: 10.2, text: "best" },
  { at: 40, text: "far" },
];

test("the marks at the pointer are told, the nearest first", () => {
  expect(marksAt(MARKS, TIP).map((mark) => mark.text)).toEqual(["best", "stop r1"]);
});

test("a reading is one sentence", () => {
  const lines = [
    { key: "a", label: "a/gpu:0", color: "red" },
    { key: "b", label: "raw", color: "red", shadow: true },
  ];
  const data: [number[], number[], number[]] = [
    [0, 10],
    [1, 2],
    [5, 5],
  ];
  const text = tipText({ tip: TIP, data, lines, marks: MARKS, formatX: (x) => `step ${x}`, formatY: (y) => `${y} W` });
  expect(text).toBe("step 10, a/gpu:0 2 W, best, r1: stop requested by anna");
});
