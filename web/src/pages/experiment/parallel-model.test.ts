import { expect, test } from "vitest";
import { testRun } from "@/api/test-run";
import { axesOf, brushed, brushOf, pathOf, type Scale, spaced } from "./parallel-model";

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

test("settings are written as they are typed, however the host writes them", () => {
  const runs = [run("r1", { lr: "5e-05" }, 3), run("r2", { lr: "0.0003" }, 1), run("r3", { lr: "0.002" }, 2)];
  const [lr] = axesOf(runs, "eval_loss", ["lr"]);
  expect(lr?.ticks.map((tick) => tick.text)).toEqual(["5e-5", "3e-4", "0.002"]);
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

const [LR, OPTIM, BEST] = axesOf(RUNS, "eval_loss", ["lr", "optim"]).map((axis) => axis.scale) as [Scale, null, Scale];

test.each([
  ["", 0.25, 0.75, "lr>=0.00003162 lr<=0.0003162"],
  ["", 0.75, 0.25, "lr>=0.00003162 lr<=0.0003162"],
  ["state:running lr<=2", 0.5, 1, "state:running lr>=0.0001"],
  ["lr>=1e-5 adamw", 0, 0.5, "adamw lr<=0.0001"],
  ["lr>=1e-5 adamw lr<=2", 0.4, 0.41, "adamw"],
  ["lr>=1e-5", 0, 1, ""],
])("%s, drawn from %d to %d: %s", (filter, from, to, wanted) => expect(brushed(filter, LR, from, to)).toBe(wanted));

test("a brush shows what the filter leaves of its axis, the page's own words included", () => {
  expect(brushOf(LR, [null, null])).toBe(null);
  expect(brushOf(LR, [1e-4, null])).toEqual([expect.closeTo(0.5, 9), 1]);
  expect(brushOf(BEST, [-5, 2])).toEqual([0, 0.5]);
});

test("words cannot be brushed, and the metric goes by the filter's name for it", () => {
  expect(OPTIM).toBe(null);
  expect(BEST.field).toBe("best");
});

test("ticks keep a distance, and both ends stay", () => {
  const at = (...places: number[]) => places.map((place) => ({ at: place, text: String(place) }));
  expect(spaced(at(0, 0.01, 0.1, 0.12, 0.97, 1), 0.05).map((tick) => tick.at)).toEqual([0, 0.1, 1]);
  expect(spaced(at(0, 0.01), 0.05).map((tick) => tick.at)).toEqual([0, 0.01]);
  expect(spaced(at(0.5), 0.05)).toHaveLength(1);
  expect(spaced([])).toEqual([]);
});
