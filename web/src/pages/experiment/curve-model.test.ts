import { describe, expect, it, test } from "vitest";
import { type KnownCurves, liveRuns, merged, noted } from "@/api/curves";
import type { CheckpointView, RunView } from "@/api/runs";
import { testRun } from "@/api/test-run";
import { checkpointMarks, firstMetric, stepsOf, timeAt, toCurves } from "./curve-model";

const RUN = testRun("r1", { spec: { per_device_train_batch_size: 4, gradient_accumulation_steps: 2 } });
const LOSS = { run: "r1", steps: [1, 2, 3], values: [2, null, -1], at: [110, 109, 130] };
const VIEW = { experiment: "e1", metric: "loss", metrics: ["loss"], curves: [LOSS] };
const WISH = { axis: "step", smoothing: 0, isLog: false, devices: 1, begin: 100 } as const;

test("by step, by sample, by time", () => {
  expect(toCurves(VIEW, [RUN], WISH)[0]?.x).toEqual([1, 2, 3]);
  expect(toCurves(VIEW, [RUN], { ...WISH, axis: "sample", devices: 2 })[0]?.x).toEqual([16, 32, 48]);
  // A time that goes back would break the axis.
  expect(toCurves(VIEW, [RUN], { ...WISH, axis: "time" })[0]?.x).toEqual([10, 10, 30]);
});

test("on a logarithmic axis what is not positive is a gap", () => {
  expect(toCurves(VIEW, [RUN], { ...WISH, isLog: true })[0]?.y).toEqual([2, null, null]);
});

test("evaluations take their times from the training steps before them", () => {
  const evals = { ...VIEW, curves: [{ run: "r1", steps: [2], values: [1.5], at: null }] };
  expect(toCurves(evals, [RUN], { ...WISH, axis: "time", clock: VIEW })[0]?.x).toEqual([9]);
  expect([timeAt(LOSS, 0), timeAt(LOSS, 3), timeAt(LOSS, 99), timeAt(undefined, 1)]).toEqual([110, 130, 130, null]);
});

test("runs without values have no line", () => {
  expect(toCurves(VIEW, [RUN, testRun("r2")], WISH).map((curve) => curve.key)).toEqual(["r1"]);
  expect(toCurves(undefined, [RUN], WISH)).toEqual([]);
});

test("the steps that a zoom covers", () => {
  expect(stepsOf([10.2, 19.8], [RUN], "step", 1)).toEqual([9, 21]);
  expect(stepsOf([80, 160], [RUN], "sample", 1)).toEqual([9, 21]);
  expect([stepsOf(null, [RUN], "step", 1), stepsOf([0, 1], [RUN], "time", 1)]).toEqual([null, null]);
});

test("fresh curves take the places of old ones", () => {
  const fresh = {
    ...VIEW,
    metrics: ["loss", "lr"],
    curves: [
      { ...LOSS, steps: [1, 2, 3, 4] },
      { ...LOSS, run: "r2" },
    ],
  };
  const both = merged({ ...VIEW, curves: [{ ...LOSS, run: "r0" }, LOSS] }, fresh);
  expect(both.curves.map((curve) => [curve.run, curve.steps.length])).toEqual([
    ["r0", 3],
    ["r1", 4],
    ["r2", 3],
  ]);
  expect(both.metrics).toEqual(["loss", "lr"]);
});

test("only curves that may have grown are read again", () => {
  const runs = [
    testRun("r1", { current_step: 3, state: "completed" }),
    testRun("r2", { current_step: 5, state: "queued" }),
    testRun("r3", { current_step: 0, slot: "a/0" }),
    testRun("r4", { current_step: 9, state: "deleting" }),
  ];
  expect(liveRuns(VIEW, runs)).toEqual(["r2", "r3"]);
});

test("a run at rest whose metric has no value at its last step is read a few times more and no longer", () => {
  const read = (view: KnownCurves, run: RunView) => {
    const live = liveRuns(view, [run]);
    return { view: noted(merged(view, { ...VIEW, curves: [LOSS] }), live, [run]), count: live.length };
  };
  const stopped = testRun("r1", { current_step: 5, state: "stopped" });
  let view: KnownCurves = VIEW;
  const counts = Array.from({ length: 5 }, () => {
    const next = read(view, stopped);
    view = next.view;
    return next.count;
  });
  expect(counts).toEqual([1, 1, 1, 0, 0]);
  // It goes on, and rests again where it was.
  expect(liveRuns(view, [{ ...stopped, slot: "left/0" }])).toEqual(["r1"]);
  view = read(view, { ...stopped, slot: "left/0" }).view;
  expect(liveRuns(view, [stopped])).toEqual(["r1"]);
  expect(liveRuns(view, [{ ...stopped, current_step: 7 }])).toEqual(["r1"]);
});

test("the metric that is shown first", () => {
  expect(firstMetric("loss", ["loss", "lr"], /loss/)).toBe("loss");
  expect(firstMetric("eval_loss", ["eval_accuracy", "lr"], /^eval/)).toBe("eval_accuracy");
  expect(firstMetric("loss", [], /loss/)).toBe("loss");
});

describe("marks of checkpoints", () => {
  const checkpoint = (step: number, changes: object = {}) =>
    ({ step, best: false, latest: false, metrics: {}, ...changes }) as unknown as CheckpointView;
  const found = [checkpoint(10, { best: true }), checkpoint(20, { latest: true })];
  const run = testRun("r1", { spec: { per_device_train_batch_size: 4 } });
  const wish = { devices: 1, begin: 1000 };

  it("stand at their steps, and say which step they are of", () => {
    expect(checkpointMarks(run, found, { ...wish, axis: "step" })).toMatchObject([
      { key: "10", at: 10, text: "best" },
      { key: "20", at: 20, text: "latest" },
    ]);
    expect(checkpointMarks(run, found, { ...wish, axis: "sample" }).map((mark) => mark.at)).toEqual([40, 80]);
  });

  it("stand on the axis of time, too", () => {
    const clock = {
      experiment: "e1",
      metric: "loss",
      metrics: [],
      curves: [{ run: "r1", steps: [10, 20], values: [1, 1], at: [1100, 1300] }],
    };
    expect(checkpointMarks(run, found, { ...wish, axis: "time", clock }).map((mark) => mark.at)).toEqual([100, 300]);
    expect(checkpointMarks(run, found, { ...wish, axis: "time" })).toEqual([]);
  });
});
