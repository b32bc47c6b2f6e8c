import { expect, test } from "vitest";
import { testRun } from "@/api/test-run";
import { binned, chunkCells, chunkEnds, commitsOf } from "./chunk-model";

test.each([
  [{ num_chunks: 4 }, 16, 16, [4, 8, 12, 16]],
  [{ num_chunks: 3 }, 26, 52, [8, 17, 26, 34, 43, 52]],
  [{ num_chunks: 4 }, 10, 25, [2, 5, 7, 10, 12, 15, 17, 20, 22, 25]],
  [{ steps: 4 }, 10, 14, [4, 8, 10, 14]],
  [{ num_chunks: null, steps: null }, 16, 16, [2, 4, 6, 8, 10, 12, 14, 16]],
  [{ num_chunks: 8 }, 3, 6, [1, 2, 3, 4, 5, 6]],
])("chunks of %o over %i steps an epoch", (rule, epoch, total, ends) => {
  expect(chunkEnds(rule, epoch, total)).toEqual(ends);
});

const GRANT = { generation: 1, client: "a", slot: "a/0", granted_at: 0, phase: "open" };

test("a run in the middle of its third chunk", () => {
  const run = testRun("r1", {
    position: 4,
    current_step: 10,
    slot: "a/0",
    grants: [
      { ...GRANT, from_step: 4, to_step: 8, phase: "trained" },
      { ...GRANT, from_step: 8, to_step: 12 },
      { ...GRANT, from_step: 12, to_step: 16 },
    ],
  });
  const commits = commitsOf({
    experiment: "e1",
    chunks: [{ run: "r1", from_step: 0, to_step: 4, metrics: { eval_loss: 2 }, checkpoint_kept: true }],
  });
  const cells = chunkCells(run, { num_chunks: 4 }, commits.get("r1"));
  expect(cells.map((cell) => cell.state)).toEqual(["done", "committing", "training", "granted"]);
  expect(cells.map((cell) => cell.share)).toEqual([1, 1, 0.5, 0]);
  expect(cells[0]).toMatchObject({ hasCheckpoint: true, metrics: { eval_loss: 2 } });
});

test("a warm clone begins in the middle", () => {
  const cells = chunkCells(
    testRun("r2", { first_step: 8, position: 8, current_step: 8 }),
    { num_chunks: 4 },
    undefined,
  );
  expect(cells.map((cell) => cell.state)).toEqual(["skipped", "skipped", "waiting", "waiting"]);
});

test("a run that was stopped inside a chunk keeps what it did of it", () => {
  const cells = chunkCells(
    testRun("r3", { state: "stopped", position: 6, current_step: 6 }),
    { num_chunks: 4 },
    undefined,
  );
  expect(cells.map((cell) => [cell.state, cell.share])).toEqual([
    ["done", 1],
    ["waiting", 0.5],
    ["waiting", 0],
    ["waiting", 0],
  ]);
});

test("thousands of chunks share cells, and what trains now stands for its own", () => {
  const grant = { ...GRANT, from_step: 1041, to_step: 1042 };
  const run = testRun("r4", {
    total_steps: 2000,
    steps_per_epoch: 2000,
    position: 1041,
    current_step: 1041,
    slot: "a/0",
    grants: [grant],
  });
  const cells = chunkCells(run, { num_chunks: 2000 }, new Map([[1000, { metrics: { eval_loss: 2 }, kept: true }]]));
  const bins = binned(cells, 60);
  expect(bins.length).toBeLessThanOrEqual(60);
  expect(bins.reduce((sum, bin) => sum + bin.count, 0)).toBe(2000);
  expect(bins.findIndex((bin) => bin.state === "training")).toBe(Math.floor(1041 / 34));
  expect(bins[0]).toMatchObject({ state: "done", share: 1 });
  expect(bins.at(-1)).toMatchObject({ state: "waiting", share: 0, to: 2000 });
  expect(bins.find((bin) => bin.hasCheckpoint)).toMatchObject({ metrics: { eval_loss: 2 } });
  expect(binned(cells, 2000)).toBe(cells);
});
