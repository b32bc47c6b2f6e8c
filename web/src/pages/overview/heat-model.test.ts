import { expect, test } from "vitest";
import type { ClientView } from "@/api/cluster";
import type { Device, Latest } from "@/api/profiler";
import { heatModel, throughput } from "./heat-model";

const SLOT = { device_name: "CPU", threads: 1, memory_bytes: 0, explanation: "no run waits" };

function client(name: string, slots: ClientView["slots"]): ClientView {
  return {
    name,
    state: "ready",
    connected: true,
    version: "1",
    slots,
    labels: {},
    registered_at: 0,
    lost_at: null,
    lost_reason: "",
    certificate_expires_at: null,
  };
}

const GPU_NODE = client("big", [{ ...SLOT, id: "big/0", device: "cuda:0", runs: ["r1"] }]);
const CPU_NODE = client("left", [
  { ...SLOT, id: "left/0", device: "cpu", runs: ["r2", "r3"] },
  { ...SLOT, id: "left/1", device: "cpu", runs: [] },
]);
const DEVICE: Device = {
  client: "big",
  device: "gpu:0",
  kind: "gpu",
  name: "NVIDIA H200",
  uuid: "",
  memory_total_bytes: 1000,
  parent: "",
  seen_at: 0,
  processes: [{ pid: 1, account: "eve", command: "x", owner: "outsider", memory_used_bytes: 1, sm_utilization: null }],
};
const LATEST: Latest = {
  at: 1,
  series: [
    {
      client: "big",
      device: "gpu:0",
      owner: "",
      values: { gpu_utilization: 0.73, gpu_memory_used: 250, gpu_power: 300 },
      at: 1,
    },
    { client: "left", device: "slot:0", owner: "r2", values: { train_share: 0.9, tokens_rate: 40 }, at: 1 },
    { client: "big", device: "slot:0", owner: "r1", values: { tokens_rate: 2 }, at: 1 },
  ],
};

test("GPUs where there are any, slots where there are none", () => {
  const { groups, gpus, slots } = heatModel([GPU_NODE, CPU_NODE], [DEVICE], LATEST, "utilization");
  expect([gpus, slots]).toEqual([1, 3]);
  expect(groups.map((group) => group.cells.map((cell) => cell.share))).toEqual([[0.73], [0.9, 0]]);
  expect(groups[0]?.cells[0]?.lines).toEqual(["NVIDIA H200", "trains r1", "used by others: eve"]);
});

test("memory is a share of the device's own", () => {
  const { groups } = heatModel([GPU_NODE], [DEVICE], LATEST, "memory");
  expect(groups[0]?.cells[0]?.share).toBe(0.25);
});

test("a sensor without an answer is no zero", () => {
  const { groups } = heatModel([GPU_NODE], [DEVICE], undefined, "temperature");
  expect(groups[0]?.cells[0]).toMatchObject({ share: null, text: "–" });
});

test("what the host says is too old is no value, however new the device's others are", () => {
  const gpu = { client: "big", device: "gpu:0", owner: "", at: 1, values: { gpu_utilization: null, gpu_power: 300 } };
  const { groups } = heatModel([GPU_NODE], [DEVICE], { at: 1, series: [gpu] }, "utilization");
  expect(groups[0]?.cells[0]).toMatchObject({ share: null, text: "–" });
});

test("a client that is lost says nothing about its slots", () => {
  const { groups } = heatModel([{ ...CPU_NODE, state: "lost" }], [], undefined, "utilization");
  expect(groups[0]?.cells.map((cell) => cell.share)).toEqual([null, null]);
});

test("a slot's train share is no temperature, and no memory", () => {
  for (const metric of ["temperature", "power", "memory"] as const) {
    const { groups } = heatModel([GPU_NODE, CPU_NODE], [DEVICE], LATEST, metric);
    expect(groups[1]?.cells.map((cell) => [cell.share, cell.text])).toEqual([
      [null, "–"],
      [null, "–"],
    ]);
    expect(groups[1]?.cells[0]?.lines).toContain("trains r2");
  }
});

test("without a GPU the map shows what slots do, whatever was chosen before", () => {
  expect(heatModel([CPU_NODE], [], LATEST, "power").groups[0]?.cells[0]?.share).toBe(0.9);
});

test("a lost client is neither idle nor training", () => {
  const lost = (client: ClientView) => ({ ...client, state: "lost" });
  const { groups } = heatModel([lost(GPU_NODE), lost(CPU_NODE)], [DEVICE], LATEST, "utilization");
  for (const cell of groups.flatMap((group) => group.cells)) {
    expect(cell).toMatchObject({ share: null, text: "–" });
    expect(cell.lines.at(-1)).toBe("client is lost");
  }
});

test("a MIG device is no GPU, and has no run but its own", () => {
  const mig = { ...DEVICE, device: "gpu:3/mig:0", kind: "mig", parent: "gpu:3" };
  const whole = { ...DEVICE, device: "gpu:3" };
  const slot = { ...DEVICE, device: "slot:1", kind: "slot", parent: "gpu:3/mig:0" };
  const client_ = client("big", [
    { ...SLOT, id: "big/0", device: "cuda:0", runs: ["r1"] },
    { ...SLOT, id: "big/1", device: "cuda:1", runs: ["r2"] },
  ]);
  const model = heatModel([client_], [DEVICE, whole, mig, slot], undefined, "utilization");
  expect([model.gpus, model.migs]).toEqual([2, 1]);
  expect(model.groups[0]?.cells.map((cell) => cell.lines[1])).toEqual(["trains r1", "trains nothing", "trains r2"]);
});

const ALL = [GPU_NODE, CPU_NODE];

test("the cluster's throughput is the sum of what is known", () => {
  expect(throughput(LATEST, ALL)).toEqual({ tokens: 42, samples: null, watts: 300 });
  expect(throughput(undefined, ALL)).toEqual({ tokens: null, samples: null, watts: null });
});

test("slots that hold no run, stand still or are lost train nothing a second", () => {
  const idle = (client: ClientView) => ({ ...client, slots: client.slots.map((slot) => ({ ...slot, runs: [] })) });
  expect(throughput(LATEST, [GPU_NODE, idle(CPU_NODE)]).tokens).toBe(2);
  expect(throughput(LATEST, ALL.map(idle)).tokens).toBe(0);
  expect(throughput(LATEST, [{ ...GPU_NODE, state: "lost" }, CPU_NODE]).tokens).toBe(40);
  const stands = { client: "left", device: "slot:0", owner: "", values: { train_share: 0 }, at: 1 };
  expect(throughput({ at: 1, series: [...LATEST.series, stands] }, ALL).tokens).toBe(2);
});

test("runs that take turns on a slot do not add up", () => {
  const turns = ["r5", "r6", "r7"].map((run, place) => ({
    client: "left",
    device: "slot:0",
    owner: `run:${run}`,
    values: { tokens_rate: 10 + place },
    at: place === 1 ? 9 : place,
  }));
  expect(throughput({ at: 10, series: turns }, ALL).tokens).toBe(11);
});
