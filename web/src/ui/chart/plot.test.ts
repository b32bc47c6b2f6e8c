import { expect, test } from "vitest";
import { isSparse, type Line, logRange, seriesOf } from "./plot";

test("a logarithmic axis shows little more than there is", () => {
  const [low, high] = logRange(5.4, 5.9);
  expect([low, high]).toEqual([expect.closeTo(5.36, 2), expect.closeTo(5.94, 2)]);
  expect(logRange(2, 2)).toEqual([expect.closeTo(1.818, 3), expect.closeTo(2.2, 3)]);
});

test("points have their line's colour, whatever lies behind them", () => {
  const line = { key: "a", label: "a", color: "#123456" };
  expect(seriesOf(line, [line]).points?.fill).toBe("#123456");
});

test("all lines of a chart have points or none has, but what was evaluated always", () => {
  const line = (key: string, more: Partial<Line> = {}): Line => ({ key, label: key, color: "#123456", ...more });
  const values = (count: number) => Array.from({ length: 50 }, (_, index) => (index < count ? 1 : null));
  const x = values(50).map((_, index) => index);
  expect(isSparse([x, values(39), values(12)], [line("a"), line("b")])).toBe(true);
  expect(isSparse([x, values(39), values(40)], [line("a"), line("b")])).toBe(false);
  // Lines that are not drawn, as the ends of a band, and those that have points anyway do not count.
  expect(isSparse([x, values(39), values(50)], [line("a"), line("b", { width: 0 })])).toBe(true);
  const [loss, evaluation] = [line("loss"), line("eval_loss", { dotted: true })];
  const plot = { data: [x, values(50), values(5)] };
  const shown = [loss, evaluation].map((one) => seriesOf(one, [loss, evaluation]).points?.show);
  expect(shown.map((show) => typeof show === "function" && show(plot as never, 1, 0, 49))).toEqual([false, true]);
});
