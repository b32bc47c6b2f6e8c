import { expect, test } from "vitest";
import { contrast } from "@/lib/contrast";
import { inkOn, SCALE } from "./draw";

test("contrast is counted as WCAG counts it", () => {
  expect(contrast("#000000", "#ffffff")).toBeCloseTo(21);
  expect(contrast("#777777", "#ffffff")).toBeCloseTo(4.48, 2);
  expect(contrast("#4a80cf", "#4a80cf")).toBe(1);
});

test.each(["light", "dark"] as const)("numbers can be read on every step of the %s scale", (theme) => {
  for (const [step, ground] of SCALE[theme].entries())
    expect(contrast(inkOn(step, theme), ground), ground).toBeGreaterThanOrEqual(4.5);
});
