import { expect, test } from "vitest";
import { logRange, seriesOf } from "./plot";

test("a logarithmic axis shows little more than there is", () => {
  const [low, high] = logRange(5.4, 5.9);
  expect([low, high]).toEqual([expect.closeTo(5.36, 2), expect.closeTo(5.94, 2)]);
  expect(logRange(2, 2)).toEqual([expect.closeTo(1.818, 3), expect.closeTo(2.2, 3)]);
});

test("points have their line's colour, whatever lies behind them", () => {
  expect(seriesOf({ key: "a", label: "a", color: "#123456" }).points?.fill).toBe("#123456");
});
