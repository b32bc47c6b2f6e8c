import { expect, test } from "vitest";
import { runColor, runDash, runDashes } from "./run-color";

/** Relative luminance (WCAG 2.2). */
function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

test("every run's colour stands out from the ground of both themes", () => {
  for (let run = 0; run < 12; run += 1) {
    expect(contrast(runColor(`r${run}`, "light"), "#ffffff")).toBeGreaterThan(3);
    expect(contrast(runColor(`r${run}`, "dark"), "#151a21")).toBeGreaterThan(3);
  }
});

test("a run keeps its colour, and the one with the same colour has another dash", () => {
  expect(runColor("r5", "light")).toBe(runColor("r17", "light"));
  expect(runDash("r5")).not.toEqual(runDash("r17"));
});

test("lines are dashed only where two that are shown share a colour", () => {
  expect([...runDashes(["r14", "r15", "r16"]).values()]).toEqual([[], [], []]);
  const dashes = runDashes(["r29", "r17", "r5", "r6"]);
  expect(dashes.get("r5")).toEqual([]);
  expect(dashes.get("r6")).toEqual([]);
  expect(dashes.get("r17")?.length).toBeGreaterThan(0);
  expect(dashes.get("r29")).not.toEqual(dashes.get("r17"));
});
