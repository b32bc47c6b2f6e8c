import { expect, test } from "vitest";
import { testRun } from "@/api/test-run";
import { axesOf, pathOf } from "./parallel-model";

function run(id: string, changes: Record<string, string>, value: number) {
  return testRun(id, { changes, best: { metric: "eval_loss", value, step: 1, checkpoint: null } });
}

const RUNS = [
  run("r1", { lr: "1e-5", optim: "sgd", seed: "7" }, 3),
  run("r2", { lr: "1e-3", optim: "adamw", seed: "7" }, 1),
  run("r3", { lr: "1e-4", seed: "7" }, 2),
];

test("one axis a key that differs, and the metric last", () => {
  const axes = axesOf(RUNS, "eval_loss", ["lr", "optim", "seed"]);
  expect(axes.map((axis) => axis.label)).toEqual(["lr", "optim", "best eval_loss"]);
});

test("orders of magnitude are spread evenly, words in their order", () => {
  const [lr, optim, metric] = axesOf(RUNS, "eval_loss", ["lr", "optim"]);
  expect(RUNS.map((one) => lr?.at(one))).toEqual([0, 1, expect.closeTo(0.5, 9)]);
  expect(RUNS.map((one) => optim?.at(one))).toEqual([1, 0, null]);
  expect(RUNS.map((one) => metric?.at(one))).toEqual([1, 0, 0.5]);
});

test("a line leaves out axes that say nothing about its run", () => {
  const axes = axesOf(RUNS, "eval_loss", ["lr", "optim"]);
  const path = (index: number) =>
    pathOf(
      RUNS[index] as (typeof RUNS)[0],
      axes,
      (at) => at * 10,
      (at) => at * 100,
    );
  expect(path(0)).toBe("M0.0 0.0L10.0 100.0L20.0 100.0");
  expect(path(2)).toBe("M0.0 50.0L20.0 50.0");
});
