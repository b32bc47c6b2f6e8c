import { expect, it } from "vitest";
import { panned, revealed, ticks, zoomed } from "./view";

const VIEW = { from: 1000, to: 2000 };

it("zooms around a moment that stays in place", () => {
  const near = zoomed(VIEW, 0.5, 1250);
  expect(near).toEqual({ from: 1125, to: 1625 });
  expect((1250 - near.from) / (near.to - near.from)).toBeCloseTo(0.25);
  expect(zoomed(VIEW, 1e-9, 1500).to - zoomed(VIEW, 1e-9, 1500).from).toBeCloseTo(0.5);
  expect(panned(VIEW, -10)).toEqual({ from: 990, to: 1990 });
});

it("moves only as far as it takes to have something in sight", () => {
  expect(revealed(VIEW, 1100, 1200)).toBe(VIEW);
  expect(revealed(VIEW, 900, 950).from).toBe(800);
  expect(revealed(VIEW, 2000, 2100)).toEqual({ from: 1200, to: 2200 });
  expect(revealed(VIEW, 2000, 9000).from).toBe(1900);
});

it("puts ticks at whole moments, far enough apart", () => {
  const { step, at } = ticks(VIEW, 800, 84);
  expect(step).toBe(120);
  expect(at.length).toBeGreaterThan(5);
  const zone = new Date(1000 * 1000).getTimezoneOffset() * 60;
  for (const one of at) expect((one - zone) % 120).toBe(0);
});
