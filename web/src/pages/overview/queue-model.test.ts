import { expect, test } from "vitest";
import { formatAge } from "./queue-model";

test("how long a run waits", () => {
  expect([2, 75, 7200].map((age) => formatAge(1000, 1000 + age))).toEqual([
    "waits 2 s",
    "waits 1 min 15 s",
    "waits 2 h 00 min",
  ]);
  expect(formatAge(1000, 999)).toBe("waits 0 s");
  expect(formatAge(null, 1000)).toBe("");
});
