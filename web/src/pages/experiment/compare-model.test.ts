import { expect, test } from "vitest";
import { testRun } from "@/api/test-run";
import { differingKeys, rowTexts } from "./compare-model";

test.each([
  [
    [3118, 3120],
    ["3,118", "3,120"],
  ],
  [
    [757432, null, 1],
    ["757,432", "–", "1"],
  ],
  [
    [1234.5, 2],
    ["1,234.5", "2.0"],
  ],
  [
    [0.5, 2],
    ["0.5000", "2.0000"],
  ],
  [[1e-5], ["1.00e-5"]],
  [
    [Number.NaN, undefined],
    ["–", "–"],
  ],
])("%o is written as %o", (values, texts) => expect(rowTexts(values)).toEqual(texts));

test("settings that differ are written as they are typed", () => {
  const runs = [3e-4, 5e-5].map((lr, index) => testRun(`r${index}`, { spec: { lr, seed: 7 } }));
  expect(differingKeys(runs)).toEqual([{ key: "lr", values: ["3e-4", "5e-5"] }]);
});
