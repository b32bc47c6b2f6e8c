import { expect, test } from "vitest";
import { retryAfterMs } from "./stream";

test("waits grow to a limit and are spread, so that pages do not come back all at once", () => {
  expect(retryAfterMs(0, 0)).toBe(375);
  expect(retryAfterMs(0, 1)).toBe(625);
  expect(retryAfterMs(3, 0.5)).toBe(4000);
  expect(retryAfterMs(500, 1)).toBe(10_000);
});
