import { expect, test } from "vitest";
import { testRun } from "@/api/test-run";
import type { ChunkBar } from "@/api/timeline";
import { barsOf, chunkRows } from "./chunk-rows";
import { curvesOf, groupsOf, titleOf } from "./metric-groups";
import { baseOf, specRows } from "./spec-model";
import { verdictOf } from "./verification";

function bar(fromStep: number, toStep: number, changes: Partial<ChunkBar> = {}): ChunkBar {
  return {
    slot: "a/0",
    run: "r1",
    experiment: "e1",
    generation: 1,
    from_step: fromStep,
    to_step: toStep,
    from: fromStep,
    to: toStep,
    train_from: null,
    train_to: null,
    evaluated_to: null,
    step_time_s: null,
    outcome: "trained",
    ...changes,
  };
}

function commit(fromStep: number, toStep: number, run = "r1") {
  return { run, from_step: fromStep, to_step: toStep, metrics: { loss: 1 }, checkpoint_kept: true };
}

test("a committed chunk knows the slot that trained it, of its own run only", () => {
  const rows = chunkRows(
    testRun("r1"),
    [commit(0, 10), commit(0, 10, "r2"), commit(10, 20)],
    [bar(0, 10), bar(0, 10, { run: "r2", slot: "b/0" })],
  );
  expect(rows.map((row) => [row.toStep, row.state, row.slot])).toEqual([
    [10, "committed", "a/0"],
    [20, "committed", undefined],
  ]);
});

test("a failed attempt stands before the one that made it", () => {
  const rows = chunkRows(
    testRun("r1"),
    [commit(0, 10)],
    [bar(0, 10, { outcome: "failed", from: 1, to: 2, generation: 1 }), bar(0, 10, { from: 3, to: 9, generation: 2 })],
  );
  expect(rows.map((row) => [row.state, row.from])).toEqual([
    ["failed", 1],
    ["committed", 3],
  ]);
});

test("open grants say whether they train or wait", () => {
  const grant = { client: "a", slot: "a/0", phase: "open", granted_at: 0 };
  const run = testRun("r1", {
    position: 10,
    slot: "a/0",
    grants: [
      { ...grant, generation: 3, from_step: 10, to_step: 20 },
      { ...grant, generation: 4, from_step: 20, to_step: 30 },
    ],
  });
  const rows = chunkRows(run, [], [bar(10, 20, { generation: 3, to: null, outcome: "training" })]);
  expect(rows.map((row) => row.state)).toEqual(["training", "waiting"]);
});

test("bars lie along the whole time, and what lies between is waiting", () => {
  const rows = chunkRows(
    testRun("r1"),
    [commit(0, 10), commit(10, 20)],
    [bar(0, 10), bar(10, 20, { from: 30, to: 40 })],
  );
  const line = barsOf(rows, 100);
  expect(line?.bars.map((one) => [one.left, one.width])).toEqual([
    [0, 0.25],
    [0.75, 0.25],
  ]);
  expect(line?.busy).toBe(0.5);
  expect(barsOf([], 100)).toBeNull();
});

test("losses share a chart, evaluations come next, everything else by importance", () => {
  const groups = groupsOf(["grad_norm", "eval_loss", "tokens", "zeta", "eval_accuracy", "loss", "learning_rate"]);
  expect(groups.map((group) => group.metrics)).toEqual([
    ["loss", "eval_loss"],
    ["eval_accuracy"],
    ["learning_rate"],
    ["tokens"],
    ["grad_norm"],
    ["zeta"],
  ]);
  expect(groups.map((group) => group.title).slice(0, 3)).toEqual(["Loss", "Eval accuracy", "Learning rate"]);
  expect(groupsOf([])).toEqual([]);
  expect(["step_time_s", "setup_s", "tokens_per_s", "grad_norm"].map(titleOf)).toEqual([
    "Step time (s)",
    "Setup (s)",
    "Tokens (per s)",
    "Grad norm",
  ]);
});

test("evaluations are not smoothed, and a gap stays one", () => {
  const points = [
    [1, 4, 0],
    [2, null, 0],
    [3, 2, 0],
  ] as const;
  const [loss, evaluation] = curvesOf(
    [
      { metric: "loss", points },
      { metric: "eval_loss", points },
    ],
    { title: "Loss", metrics: ["loss", "eval_loss"] },
    0.5,
  );
  expect(evaluation?.y).toEqual([4, null, 2]);
  expect(loss?.y[1]).toBeNull();
  expect(loss?.y[2]).toBeGreaterThan(2);
});

test("what differs from base or parent stands first", () => {
  const rows = specRows({ a: 1, b: [1, 2], c: "x" }, { a: 1, b: [1, 2], c: "y", d: true }, { a: 2, b: [1, 2], c: "x" });
  expect(rows.map((row) => [row.key, row.differsFromBase, row.differsFromParent])).toEqual([
    ["a", false, true],
    ["c", true, false],
    ["d", true, false],
    ["b", false, false],
  ]);
  expect(specRows({ a: 0.0003 }, { a: "5e-05" }, null)[0]).toMatchObject({ value: "3e-4", base: "5e-5" });
  expect(specRows({ a: 1 }, { a: 1 }, null)[0]).toMatchObject({ parent: null, differsFromParent: false });
});

test("an experiment of another shape has no base", () => {
  expect([baseOf({ base: { a: 1 } }), baseOf({ base: "x" }), baseOf(undefined)]).toEqual([{ a: 1 }, {}, {}]);
});

test("a verification says only what it knows", () => {
  expect(verdictOf({ identical: true, steps: 1, digest: "d", seconds: 2, max_abs_difference: 0 })).toEqual({
    isIdentical: true,
    title: "Identical to training without interruption",
    lines: [
      ["Trained again", "1 step"],
      ["Took", "2.0 s"],
      ["Weights", "d"],
    ],
  });
  const different = verdictOf({ identical: false, max_abs_difference: 0.25, digest: "d", expected: "e" });
  expect(different.lines).toEqual([
    ["Largest difference", "0.25"],
    ["Weights", "d"],
    ["Expected", "e"],
  ]);
  expect(verdictOf({}).isIdentical).toBe(false);
});
