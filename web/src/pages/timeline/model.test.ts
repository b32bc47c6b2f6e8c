import { describe, expect, it } from "vitest";
import type { ChunkBar, TimelineRange } from "@/api/timeline";
import {
  added,
  barAt,
  barKey,
  barText,
  EVERYTHING,
  firstAfter,
  ganttOf,
  isInFocus,
  isStep,
  NOTHING,
  partsOf,
  rowShares,
  sharesOf,
  stacked,
  summaryText,
  unheardS,
  walked,
} from "./model";

function chunk(slot: string, run: string, from: number, to: number | null, change: Partial<ChunkBar> = {}): ChunkBar {
  return {
    ...{ slot, run, experiment: "e1", generation: from, from_step: 0, to_step: 10, from, to },
    ...{ train_from: from + 2, train_to: to === null ? null : to - 1, evaluated_to: to, step_time_s: 0.5 },
    ...{ outcome: to === null ? "training" : "trained", ...change },
  } as ChunkBar;
}

const DATA: TimelineRange = {
  from: 0,
  to: 100,
  slots: [
    { slot: "a/0", client: "a", device: "gpu:0", since: 0 },
    { slot: "a/1", client: "a", device: "gpu:1", since: 0 },
    { slot: "b/0", client: "b", device: "gpu:0", since: 0 },
  ],
  chunks: [
    chunk("a/0", "r1", 0, 20),
    chunk("b/0", "r2", 10, 40),
    chunk("a/0", "r3", 30, 60),
    chunk("a/0", "r1", 60, null),
  ],
  complete: true,
};
const GANTT = ganttOf(DATA);
const ROW = GANTT.rows[0]?.bars ?? [];
const [FIRST] = ROW;

describe("finding chunks", () => {
  it("puts each on its slot, and forgets those of slots that are not told", () => {
    expect(GANTT.rows.map((row) => row.bars.length)).toEqual([3, 0, 1]);
    expect(ganttOf({ ...DATA, chunks: [chunk("z/9", "r9", 1, 2)] }).byKey.size).toBe(0);
    expect(ganttOf(undefined).rows).toEqual([]);
  });

  it("finds the first that ends after a moment", () => {
    expect([-5, 0, 20, 29, 45, 1e9].map((at) => firstAfter(ROW, at))).toEqual([0, 0, 1, 1, 1, 2]);
  });

  it("hits what is under the pointer, or very near to it, and no gap", () => {
    expect(barAt(ROW, 10, 1)?.run).toBe("r1");
    expect(barAt(ROW, 25, 1)).toBeNull();
    expect(barAt(ROW, 29.5, 1)?.run).toBe("r3");
    expect(barAt(ROW, 20.5, 1)?.run).toBe("r1");
    expect(barAt([], 5, 1)).toBeNull();
  });
});

describe("arrow keys", () => {
  it("walk along a slot and stop at its ends", () => {
    const last = ROW.at(-1) ?? null;
    expect(walked(GANTT, null, "ArrowRight")).toBe(last);
    expect(walked(GANTT, FIRST ?? null, "ArrowRight")?.from).toBe(30);
    expect(walked(GANTT, FIRST ?? null, "ArrowLeft")).toBe(FIRST);
    expect(walked(GANTT, FIRST ?? null, "End")).toBe(last);
    expect(walked(GANTT, last, "Home")).toBe(FIRST);
  });

  it("jump over slots without chunks, to what was there at that time", () => {
    expect(walked(GANTT, FIRST ?? null, "ArrowDown")?.slot).toBe("b/0");
    expect(walked(GANTT, GANTT.rows[2]?.bars[0] ?? null, "ArrowUp")).toBe(FIRST);
    expect(walked(GANTT, FIRST ?? null, "ArrowUp")).toBe(FIRST);
    expect(walked(ganttOf(undefined), null, "ArrowDown")).toBeNull();
    expect(["ArrowDown", "a"].map(isStep)).toEqual([true, false]);
  });
});

describe("what time went into", () => {
  it("splits a chunk into set-up, training and evaluation, clipped to the range", () => {
    expect(partsOf(chunk("a/0", "r1", 0, 20), 0, 100, 50)).toEqual({ setup: 2, train: 17, evaluate: 1, other: 0 });
    expect(partsOf(chunk("a/0", "r1", 0, 20), 1, 5, 50)).toEqual({ setup: 1, train: 3, evaluate: 0, other: 0 });
  });

  it("takes no time for evaluation in which the slot was idle and the host away", () => {
    const bar = chunk("a/0", "r1", 0, 90, { train_to: 20, evaluated_to: 22 });
    expect(partsOf(bar, 0, 100, 100)).toEqual({ setup: 2, train: 18, evaluate: 2, other: 0 });
    expect(unheardS(bar)).toBe(68);
    const row = ganttOf({ ...DATA, chunks: [bar] }).rows[0];
    expect(row && rowShares(row, 0, 100, 100)).toMatchObject({ evaluate: 2, idle: 78 });
  });

  it("lets what trains reach to now, and takes a chunk without a step for set-up", () => {
    expect(partsOf(chunk("a/0", "r1", 0, null), 0, 100, 50).train).toBe(48);
    expect(partsOf(chunk("a/0", "r1", 0, null, { train_from: null }), 0, 100, 50).setup).toBe(50);
    expect(partsOf(chunk("a/0", "r1", 0, 9, { train_from: null, train_to: null }), 0, 100, 50).other).toBe(9);
  });

  it("calls the rest idle, up to now", () => {
    expect(sharesOf(ROW, 0, 100, 80)).toEqual({ setup: 6, train: 62, evaluate: 2, other: 0, idle: 10 });
    expect(sharesOf([], 0, 100, 80).idle).toBe(80);
    expect(sharesOf(ROW, 90, 100, 80).idle).toBe(0);
    expect(added(NOTHING, sharesOf([], 0, 10, 80)).idle).toBe(10);
    const late = { slot: "b/1", client: "b", device: "gpu:1", since: 60, bars: [] };
    expect(rowShares(late, 0, 100, 80).idle).toBe(20);
    expect(rowShares(late, 0, 50, 80).idle).toBe(0);
  });

  it("counts no time as idle that is older than the oldest of too many chunks", () => {
    const chunks = [chunk("a/0", "r1", 80, 100)];
    const [row] = ganttOf({ ...DATA, chunks, complete: false }).rows;
    expect(row && rowShares(row, 0, 100, 100).idle).toBe(0);
    const [whole] = ganttOf({ ...DATA, chunks }).rows;
    expect(whole && rowShares(whole, 0, 100, 100).idle).toBe(80);
  });

  it("has the chosen experiment's own chunks, too, where there are too many", () => {
    const late = { ...DATA, chunks: [chunk("a/0", "r1", 80, 100)], complete: false };
    const own = [chunk("a/0", "r9", 10, 20, { experiment: "e2" }), chunk("z/0", "r9", 30, 40, { experiment: "e2" })];
    const slots = [{ slot: "z/0", client: "z", device: "slot:0", since: 30 }];
    const all = ganttOf(late, { ...DATA, slots, chunks: own });
    expect(all.rows.map((row) => [row.slot, row.bars.map((bar) => bar.from)])).toEqual([
      ["a/0", [10, 80]],
      ["a/1", []],
      ["b/0", []],
      ["z/0", [30]],
    ]);
    expect(all.rows.map((row) => rowShares(row, 0, 100, 100).train)).toEqual([17, 0, 0, 0]);
    expect(stacked(all, 0, 100, 100, 10)[1]?.train).toBe(0);
  });

  it("stacks the slots' shares so that they make the whole", () => {
    for (const column of stacked(GANTT, 0, 100, 80, 25)) {
      const { setup, train, evaluate, other, idle } = column;
      expect(setup + train + evaluate + other + idle).toBeCloseTo(1);
    }
    expect(stacked(GANTT, 4, 8, 80, 1)[0]).toEqual({ setup: 0, train: 1 / 3, evaluate: 0, other: 0, idle: 1 - 1 / 3 });
  });

  it("is fast enough for thousands of chunks", () => {
    const chunks = Array.from({ length: 5000 }, (_, index) =>
      chunk("a/0", `r${index % 50}`, index * 10, index * 10 + 9),
    );
    expect(stacked(ganttOf({ ...DATA, chunks }), 0, 50_000, 50_000, 400)).toHaveLength(400);
  });
});

describe("words", () => {
  it("tell a chunk", () => {
    const bar = FIRST ?? { ...chunk("a/0", "r1", 0, 1), key: "", row: 0 };
    expect(barText(bar, 80)).toContain("r1, steps 0 to 10 on a/0");
    expect(barText(bar, 80)).toContain("set-up 2.0 s, training 17 s, evaluation 1.0 s");
    expect(barKey(bar)).toBe("a/0~r1~0");
  });

  it("tell the chunks that the page is about, and the time of all", () => {
    const bars = [chunk("a/0", "r1", 0, 50), chunk("a/0", "r9", 50, 100, { experiment: "e2" })];
    const all = ganttOf({ ...DATA, slots: DATA.slots.slice(0, 1), chunks: bars });
    const shares = all.rows.map((row) => rowShares(row, 0, 100, 100)).reduce(added, NOTHING);
    expect(summaryText(all, shares, { experiment: "e2", run: "" })).toBe(
      "1 slot, 1 chunk of 1 run: 94 % training, 4 % set-up, 2 % evaluation, 0 % idle",
    );
    expect(bars.map((bar) => isInFocus(bar, { experiment: "e2", run: "" }))).toEqual([false, true]);
    expect(bars.map((bar) => isInFocus(bar, { experiment: "", run: "r1" }))).toEqual([true, false]);
    expect(bars.map((bar) => isInFocus(bar, EVERYTHING))).toEqual([true, true]);
  });

  it("tell the range, and failures only where there are some", () => {
    const shares = { setup: 1, train: 8, evaluate: 0, other: 0, idle: 1 };
    expect(summaryText(GANTT, shares)).toBe(
      "3 slots, 4 chunks of 3 runs: 80 % training, 10 % set-up, 0 % evaluation, 10 % idle",
    );
    const failed = ganttOf({ ...DATA, chunks: [chunk("a/0", "r1", 0, 5, { outcome: "failed" })] });
    expect(summaryText(failed, shares)).toContain("1 chunk failed");
  });
});
