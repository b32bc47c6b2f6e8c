import { describe, expect, it } from "vitest";
import type { Device, Latest } from "@/api/profiler";
import type { PanelSpec } from "./panels";
import { LINES_MAX, lineKey, ownerLabel, processRows, type Selection, seriesCount, TOP, wishOf } from "./selection";
import { THRESHOLDS } from "./thresholds";

function cluster(clients: number, gpus: number): Device[] {
  const device = (client: string, name: string, kind: string): Device => ({
    ...{ client, device: name, kind, name: "", uuid: "", memory_total_bytes: null, parent: "", seen_at: 0 },
    processes:
      kind === "gpu"
        ? [{ pid: 1, account: "x", command: "", owner: "run:r1", memory_used_bytes: 1, sm_utilization: null }]
        : [],
  });
  return Array.from({ length: clients }, (_, client) => [
    device(`c${client}`, "machine", "machine"),
    ...Array.from({ length: gpus }, (_, gpu) => device(`c${client}`, `gpu:${gpu}`, "gpu")),
    ...Array.from({ length: gpus }, (_, gpu) => device(`c${client}`, `slot:${gpu}`, "slot")),
  ]).flat();
}

const ALL: Selection = { clients: [], gpus: [], runs: [], owners: [], aggregate: "none", by: "device" };

function panel(group: string, metrics: readonly string[] = ["gpu_power"]): PanelSpec {
  return { id: "p", title: "P", group, unit: "watts", help: "", metrics, words: [], limit: null, thresholds: [] };
}

describe("how much there is to see", () => {
  it("counts the lines of a panel", () => {
    const devices = cluster(3, 4);
    expect(["gpu", "process", "machine", "training"].map((group) => seriesCount(panel(group), ALL, devices))).toEqual([
      12, 12, 3, 12,
    ]);
    const few = { ...ALL, clients: ["c1"], gpus: ["gpu:2"] };
    expect(seriesCount(panel("gpu"), few, devices)).toBe(1);
    expect(seriesCount(panel("training"), few, devices)).toBe(4);
  });

  it("shows each of few, the mean of each client of many, and the mean of all of 1,000 GPUs", () => {
    expect(wishOf(panel("gpu"), ALL, cluster(4, 8), undefined, 400)).toMatchObject({
      wish: { aggregate: "none" },
      note: null,
    });
    const many = wishOf(panel("gpu"), ALL, cluster(16, 8), undefined, 400);
    expect(many.wish).toMatchObject({ aggregate: "mean", by: "client" });
    expect(many.note).toContain("128 lines");
    expect(wishOf(panel("gpu"), ALL, cluster(125, 8), undefined, 400).wish).toMatchObject({
      aggregate: "mean",
      by: "all",
    });
    expect(wishOf(panel("machine"), ALL, cluster(LINES_MAX + 1, 1), undefined, 400).wish.by).toBe("all");
  });

  it("asks for what was chosen, GPUs only where they matter", () => {
    const chosen: Selection = {
      ...ALL,
      clients: ["c1"],
      gpus: ["gpu:0"],
      owners: ["run:r1"],
      aggregate: "max",
      by: "client",
    };
    expect(wishOf(panel("gpu"), chosen, [], undefined, 400).wish).toMatchObject({
      gpus: ["gpu:0"],
      owners: [],
      aggregate: "max",
      by: "client",
    });
    expect(wishOf(panel("process"), chosen, [], undefined, 400).wish.owners).toEqual(["run:r1"]);
    expect(wishOf(panel("machine"), chosen, [], undefined, 400).wish.gpus).toEqual([]);
    expect(wishOf({ ...panel("gpu"), limit: "gpu_power_limit" }, ALL, [], undefined, 4).wish.metrics).toContain(
      "gpu_power_limit",
    );
  });

  it("finds the top by their newest values, and only those", () => {
    const latest: Latest = {
      at: 0,
      series: Array.from({ length: 100 }, (_, index) => ({
        ...{ client: `c${index >> 3}`, device: `gpu:${index & 7}`, owner: "", at: 0 },
        values: { gpu_power: index === 7 ? null : index },
      })),
    };
    const top = wishOf(panel("gpu"), { ...ALL, aggregate: "top" }, [], latest, 400);
    expect(top.only?.size).toBe(TOP);
    expect(top.only?.has("c12/gpu:3")).toBe(true);
    expect(top.wish.clients).toEqual(["c11", "c12"]);
    const of3 = wishOf(panel("gpu"), { ...ALL, aggregate: "top", clients: ["c3"] }, [], latest, 400);
    expect(of3.wish.clients).toEqual(["c3"]);
  });
});

it("lists the processes on what is chosen", () => {
  const devices = cluster(2, 2);
  expect(processRows(devices, ALL)).toHaveLength(4);
  expect(processRows(devices, { ...ALL, clients: ["c1"], gpus: ["gpu:0"] })).toMatchObject([
    { client: "c1", device: "gpu:0" },
  ]);
  expect(processRows(devices, { ...ALL, runs: ["r1"] })).toHaveLength(4);
  expect(processRows(devices, { ...ALL, owners: ["outsider:ann"] })).toHaveLength(0);
  expect([ownerLabel("outsider:ann"), ownerLabel("run:r1")]).toEqual(["ann (not of gswarm)", "run r1"]);
});

it("one series has one key in all panels", () => {
  expect(lineKey({ client: "a", device: "gpu:0", owner: "run:r1", run: "r1" })).toBe("a/gpu:0/run:r1");
  expect(lineKey({ client: "", device: "", owner: "", run: "r1" })).toBe("r1");
  expect(lineKey({ client: "", device: "", owner: "", run: "" })).toBe("all");
});

it("thresholds are read from an address as they were written; what makes no sense is none", () => {
  const text = THRESHOLDS.write({ gpu_power: 650, step_time: 0.25 });
  expect(THRESHOLDS.read(text)).toEqual({ gpu_power: 650, step_time: 0.25 });
  expect(THRESHOLDS.read("a:,b:x,c,d:1:2")).toEqual({});
  expect(THRESHOLDS.write({})).toBeNull();
});
