import { expect, it } from "vitest";
import { tickText, tickTexts } from "./time-ticks";

const NOON = new Date(2026, 10, 22, 12, 5, 9).getTime() / 1000;

it("names a moment as exactly as the steps ask for", () => {
  expect(tickText(NOON, 300)).toBe("12:05");
  expect(tickText(NOON, 5)).toBe("12:05:09");
  expect(tickText(NOON + 0.25, 0.1)).toBe("12:05:09.3");
  expect(tickText(NOON, 86_400)).toBe("11-22");
});

it("names the day where an axis runs over midnight", () => {
  const evening = new Date(2026, 10, 22, 22, 0, 0).getTime() / 1000;
  expect(tickTexts([evening, evening + 7200, evening + 14_400], 7200)).toEqual(["22:00", "11-23", "02:00"]);
});
