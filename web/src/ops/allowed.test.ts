import { expect, test } from "vitest";
import { testRun } from "@/api/test-run";
import { allowed } from "./allowed";

const RUNNING = testRun("r1", { possible: ["stop", "clone", "delete"], refused: { resume: "it is running already" } });
const ENDED = testRun("r2", {
  possible: ["clone", "delete"],
  refused: { stop: "it has ended", resume: "it has trained all its steps" },
});

test("what is possible for some is asked of those", () => {
  expect(allowed("stop", [RUNNING, ENDED], true)).toEqual({ runs: [RUNNING], reason: null });
});

test("what is possible for none says why, for the first few", () => {
  const many = ["r3", "r4", "r5", "r6"].map((id) => ({ ...ENDED, id }));
  expect(allowed("resume", [RUNNING], true).reason).toBe("r1: it is running already");
  expect(allowed("stop", many, true).reason).toBe("r3: it has ended; r4: it has ended; r5: it has ended; and 1 more");
});

test("nothing is possible for nobody, and for a viewer", () => {
  expect(allowed("stop", [], true).reason).toContain("Choose runs");
  expect(allowed("stop", [RUNNING], false).reason).toContain("operator");
});
