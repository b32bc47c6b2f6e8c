import { expect, test } from "vitest";
import type { ClientView } from "@/api/cluster";
import type { Device, Latest } from "@/api/profiler";
import { refusalOf } from "@/pages/client/client-rules";
import { clientRows, ownerOf, processRows, readings, shareOf } from "./client-model";

const CLIENT: ClientView = {
  name: "a",
  state: "ready",
  connected: true,
  version: "1",
  slots: [
    { id: "a/0", device: "cuda:0", device_name: "", threads: 1, memory_bytes: 0, runs: ["r1", "r2"], explanation: "" },
    { id: "a/1", device: "cuda:0", device_name: "", threads: 1, memory_bytes: 0, runs: [], explanation: "" },
  ],
  labels: {},
  registered_at: 0,
  lost_at: null,
  lost_reason: "",
  certificate_expires_at: null,
};

function gpu(device: string, processes: Device["processes"] = []): Device {
  return {
    client: "a",
    device,
    kind: "gpu",
    name: "",
    uuid: "",
    memory_total_bytes: null,
    parent: "",
    seen_at: 0,
    processes,
  };
}

function process(pid: number, owner: string): Device["processes"][number] {
  return { pid, account: "alice", command: "python", owner, memory_used_bytes: null, sm_utilization: null };
}

function latest(...series: Latest["series"]): Latest {
  return { at: 10, series };
}

test("readings are of devices as a whole, not of one process on them", () => {
  const found = readings(
    latest(
      { client: "a", device: "gpu:0", owner: "run:r1", values: { gpu_utilization: 0.1 }, at: 9 },
      { client: "a", device: "gpu:0", owner: "", values: { gpu_utilization: 0.9 }, at: 8 },
    ),
  );
  expect(found.get("a/gpu:0")).toEqual({ values: { gpu_utilization: 0.9 }, at: 8 });
});

test("a sensor without an answer is no zero in the mean", () => {
  const [row] = clientRows(
    [CLIENT],
    [gpu("gpu:0"), gpu("gpu:1")],
    latest(
      { client: "a", device: "gpu:0", owner: "", values: { gpu_utilization: 0.8 }, at: 9 },
      { client: "a", device: "gpu:1", owner: "", values: { gpu_utilization: null }, at: 9 },
    ),
  );
  expect([row?.gpuUse, row?.cpuUse, row?.gpus, row?.busy, row?.runs]).toEqual([0.8, undefined, 2, 1, ["r1"]]);
});

test("a client that is gone trains nothing", () => {
  const [row] = clientRows([{ ...CLIENT, state: "lost", connected: false }], [], undefined);
  expect([row?.busy, row?.runs]).toEqual([0, []]);
});

test("whose a process is", () => {
  expect(["run:r1", "job:j2", "outsider:bob:1", "", "what"].map((owner) => ownerOf(process(1, owner)))).toEqual([
    { kind: "run", name: "r1" },
    { kind: "job", name: "j2" },
    { kind: "outsider", name: "bob:1" },
    { kind: "unknown", name: "" },
    { kind: "unknown", name: "what" },
  ]);
  const devices = [
    gpu("gpu:0", [process(7, "run:r1")]),
    gpu("gpu:1", [process(7, "run:r1"), process(8, "outsider:bob")]),
  ];
  expect(processRows(devices).map((row) => row.key)).toEqual(["gpu:0 7", "gpu:1 7", "gpu:1 8"]);
  expect(clientRows([CLIENT], devices, undefined)[0]?.outsiders).toEqual(["alice"]);
});

test("a share needs both numbers", () => {
  expect([shareOf(1, 4), shareOf(null, 4), shareOf(1, undefined), shareOf(1, 0)]).toEqual([
    0.25,
    undefined,
    undefined,
    undefined,
  ]);
});

test.each([
  ["drain", {}, null],
  ["drain", { state: "draining" }, "It takes no more work already"],
  ["drain", { state: "lost" }, "The client is gone"],
  ["resume", {}, "It takes work already"],
  ["resume", { state: "draining" }, null],
  ["disconnect", { connected: false }, "The client is not connected"],
  ["revoke", { state: "lost" }, null],
] as const)("%s of a client with %j", (op, changes, reason) => {
  expect(refusalOf({ ...CLIENT, ...changes }, op, true, true)).toBe(reason);
});

test("viewers change nothing, operators end no certificate", () => {
  expect(refusalOf(CLIENT, "drain", false, false)).toContain("operator");
  expect(refusalOf(CLIENT, "revoke", true, false)).toContain("administrators");
});
