import { describe, expect, it } from "vitest";
import type { Answer, AnswerLine, Note } from "@/api/profiler-query";
import { runColor } from "@/lib/run-color";
import { chartModel, isCounted, markWord, marksOf } from "./chart-model";
import { csvOf } from "./csv";
import { figuresOf, gridded, isSilent } from "./grid";
import type { PanelSpec } from "./panels";

function line(device: string, mean: (number | null)[], change: Partial<AnswerLine> = {}): AnswerLine {
  return {
    ...{
      client: "a",
      device,
      owner: "",
      run: "",
      metric: "gpu_power",
      unit: "watts",
      at: mean.map((_, index) => index * 10),
    },
    ...{ mean, min: mean, max: mean, ...change },
  };
}

function answer(series: AnswerLine[], step_s = 10): Answer {
  return { from: 0, to: 100, step_s, series };
}

const PANEL: PanelSpec = {
  ...{ id: "gpu_power", title: "Power", group: "gpu", unit: "watts", help: "", metrics: ["gpu_power"], words: [] },
  ...{ limit: "gpu_power_limit", thresholds: [] },
};
const NOTHING: readonly string[] = [];

describe("one axis for all lines", () => {
  it("keeps gaps as gaps, and what was not measured then as nothing", () => {
    const grid = gridded(answer([]), [line("gpu:0", [1, null, 3]), line("gpu:1", [5], { at: [20] })], 100);
    expect(grid.at).toEqual([0, 10, 20]);
    expect(grid.mean).toEqual([
      [1, null, 3],
      [undefined, undefined, 5],
    ]);
  });

  it("puts samples of several clocks into columns, with their mean and extremes", () => {
    const dense = line("gpu:0", [1, 9, 2], { at: [10.1, 10.4, 60], min: [0, 8, 2], max: [2, 10, 2] });
    const grid = gridded(answer([], 0), [dense, line("gpu:1", [4], { at: [10.2] })], 50);
    expect(grid.mean[0]).toEqual([5, 2]);
    expect([grid.min[0]?.[0], grid.max[0]?.[0]]).toEqual([0, 10]);
    expect(grid.mean[1]).toEqual([4, undefined]);
  });

  it("a value and a gap in one column are the value", () => {
    const grid = gridded(answer([], 0), [line("gpu:0", [null, 7], { at: [10, 10.5] })], 10);
    expect(grid.mean[0]).toEqual([7]);
  });
});

describe("figures of a line", () => {
  it("are of what was measured", () => {
    const spread = line("gpu:0", [2, null, 4], { min: [1, null, 3], max: [3, null, 9] });
    expect(figuresOf(spread)).toEqual({ last: 4, mean: 3, min: 1, max: 9 });
    expect(figuresOf(line("gpu:0", [null]))).toEqual({ last: null, mean: null, min: null, max: null });
    expect([isSilent(line("gpu:0", [null, null])), isSilent(line("gpu:0", [0]))]).toEqual([true, false]);
  });
});

describe("a chart", () => {
  const limit = line("gpu:0", [700, 700], { metric: "gpu_power_limit" });

  it("shows its lines in order, its limit as a threshold, silent sensors only in the legend", () => {
    const model = chartModel(
      PANEL,
      answer([line("gpu:10", [1, 2]), line("gpu:2", [3, 4]), line("gpu:3", [null]), limit]),
      null,
      NOTHING,
      650,
      "light",
    );
    expect(model.lines.map((one) => one.label)).toEqual(["a/gpu:2", "a/gpu:10"]);
    expect(model.legend.map((one) => one.figures.last)).toEqual([4, null, 2]);
    expect(model.thresholds.map((one) => one.text)).toEqual(["limit 700 W", "threshold 650 W"]);
    expect(model.data[0]).toEqual([0, 10]);
  });

  it("has a band where values spread, and none where they do not", () => {
    const spread = line("gpu:0", [2, 2], { min: [1, 1], max: [3, 3] });
    const banded = chartModel(PANEL, answer([spread]), null, NOTHING, null, "light");
    expect(banded.lines.map((one) => one.fillTo)).toEqual([undefined, "gpu_power a/gpu:0 min", undefined]);
    expect(banded.data).toHaveLength(4);
    expect(chartModel(PANEL, answer([line("gpu:0", [2])]), null, NOTHING, null, "light").data).toHaveLength(2);
  });

  it("isolates lines in every panel that has them, and keeps others' colours", () => {
    const series = [line("gpu:0", [1]), line("gpu:1", [2])];
    const all = chartModel(PANEL, answer(series), null, NOTHING, null, "light");
    const one = chartModel(PANEL, answer(series), null, ["a/gpu:1"], null, "light");
    expect(one.lines.map((each) => each.color)).toEqual([all.lines[1]?.color]);
    expect(one.legend.map((each) => each.isShown)).toEqual([false, true]);
    expect(chartModel(PANEL, answer(series), null, ["elsewhere"], null, "light").lines).toHaveLength(2);
  });

  it("scales from 0, to a threshold that is near, and shares to the whole", () => {
    expect(chartModel(PANEL, answer([line("gpu:0", [500]), limit]), null, NOTHING, null, "light").rangeY).toEqual([
      0, 756,
    ]);
    const share = { ...PANEL, metrics: ["gpu_utilization"], unit: "ratio", limit: null };
    const use = answer([line("gpu:0", [0.2], { metric: "gpu_utilization" })]);
    expect(chartModel(share, use, null, NOTHING, null, "light").rangeY).toEqual([0, 1]);
    expect(
      chartModel({ ...PANEL, unit: "celsius" }, answer([line("gpu:0", [40, 60])]), null, NOTHING, null, "light").rangeY,
    ).toBeUndefined();
  });

  it("ends at a size that there is where all bytes are 0", () => {
    const swap = { ...PANEL, metrics: ["swap_used"], unit: "bytes", limit: null };
    const model = chartModel(swap, answer([line("", [0, 0], { metric: "swap_used" })]), null, NOTHING, null, "light");
    expect(model.rangeY).toEqual([0, 2 ** 20]);
  });

  it("has whole ticks where things are counted, and loads are not", () => {
    const counted = ["samples_lost", "gpu_xid", "load_1m", "gpu_power"].map((name) =>
      isCounted({ ...PANEL, metrics: [name] }),
    );
    expect(counted).toEqual([true, true, false, false]);
  });

  it("gives a run's own lines its colour", () => {
    const share = line("gpu:0", [1], { owner: "run:r7", run: "r7" });
    const [own, sum] = chartModel(
      PANEL,
      answer([share, line("", [2], { client: "", run: "r7" })]),
      null,
      NOTHING,
      null,
      "dark",
    ).lines;
    expect([own?.color, sum?.color]).toEqual([runColor("r7", "dark"), runColor("r7", "dark")]);
  });

  it("holds no more than was chosen", () => {
    const series = [line("gpu:0", [1]), line("gpu:1", [2])];
    expect(chartModel(PANEL, answer(series), new Set(["a/gpu:0"]), NOTHING, null, "light").legend).toHaveLength(1);
  });
});

describe("marks", () => {
  const note = (kind: Note["kind"], text: string, about: Partial<Note> = {}): Note => ({
    ...{ at: 5, kind, text, experiment: null, run: null, client: null },
    ...about,
  });

  it("are of the kinds that are wanted, and of the range", () => {
    const notes = [note("op", "", { at: -1 }), note("failure", "r2: failed", { run: "r2" }), note("eval", "")];
    const marks = marksOf(notes, ["op", "failure"], [0, 100], "dark");
    expect(marks.map((mark) => mark.text)).toEqual(["r2 failed"]);
    expect(marks[0]?.color).toBeDefined();
  });

  it.each([
    [note("op", "r1: stop requested by anna", { run: "r1" }), "stop r1"],
    [note("op", "r3: clone requested, learning_rate=1e-4, warm from best by anna", { run: "r3" }), "clone r3"],
    [note("op", "experiment e2: delete requested", { experiment: "e2" }), "delete e2"],
    [note("op", "experiment tiny was submitted with 3 runs by anna"), "submit tiny"],
    [note("op", "client left takes no more work by anna", { client: "left" }), "drain left"],
    [note("op", "client left takes work again", { client: "left" }), "resume left"],
    [note("failure", "r2: failed on left: out of memory", { run: "r2" }), "r2 failed"],
    [note("failure", "job j7 failed on left: no space"), "job j7 failed"],
    [note("client", "client left is here with 2 slots", { client: "left" }), "left here"],
    [note("client", "client left is gone: no heartbeat", { client: "left" }), "left gone"],
    [note("client", "client left: other people use left/0 (eve)", { client: "left" }), "left used by others"],
    [note("checkpoint", "r1: checkpoint at step 40", { run: "r1" }), "checkpoint r1"],
    [note("op", `r1: ${"x".repeat(40)}`), "op"],
  ])("say in a word what happened to whom: %o", (one, word) => expect(markWord(one)).toBe(word));

  it("have the whole sentence for the tip", () => {
    const [mark] = marksOf([note("op", "r1: stop requested by anna")], ["op"], [0, 100], "light");
    expect(mark?.title).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d r1: stop requested by anna$/);
  });
});

it("a clock that does not change lies in the middle of a scale whose ticks differ", () => {
  const clock = { ...PANEL, metrics: ["gpu_sm_clock"], unit: "hertz", limit: null };
  const model = chartModel(
    clock,
    answer([line("gpu:0", [1.98e9, 1.98e9], { metric: "gpu_sm_clock" })]),
    null,
    NOTHING,
    null,
    "light",
  );
  const [low, high] = model.rangeY ?? [0, 0];
  expect(low).toBeLessThan(1.9e9);
  expect(high).toBeGreaterThan(2.05e9);
});

it("writes a table whose names are no formulas and whose gaps are empty", () => {
  const text = csvOf([line("gpu:0", [1.5, null], { client: '=cmd,"x"' })]);
  const [head, first, second] = text.split("\r\n");
  expect(head).toBe("time,at,client,device,owner,run,metric,unit,mean,min,max");
  expect(first).toBe('1970-01-01T00:00:00.000Z,0,"\'=cmd,""x""",gpu:0,,,gpu_power,watts,1.5,1.5,1.5');
  expect(second?.endsWith(",watts,,,")).toBe(true);
});
