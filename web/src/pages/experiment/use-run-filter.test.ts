import { expect, test } from "vitest";
import { testRun } from "@/api/test-run";
import { matches, parseFilter } from "@/lib/filter";
import { fieldsOf, nothingText } from "./use-run-filter";

test("a parameter is what it was set to, whatever training reports of the moment", () => {
  const run = testRun("r1", { changes: { learning_rate: "0.002" }, metrics: { learning_rate: 1e-5, loss: 0.7 } });
  const found = (filter: string) => matches(parseFilter(filter), fieldsOf(run));
  expect(found("learning_rate<=0.00125")).toBe(false);
  expect(found("learning_rate>=0.002 loss<1 id=r1")).toBe(true);
});

test("a field that no run has is said", () => {
  const runs = [testRun("r1", { metrics: { "rewards/margins": 0.5 } })];
  const said = ["nosuch>1", "Rewards/Margins>1", "state:failed"].map((text) => nothingText(parseFilter(text), runs));
  expect(said).toEqual(["No run has a field nosuch", "No run matches the filter", "No run matches the filter"]);
});
