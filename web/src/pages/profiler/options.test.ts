import { expect, test } from "vitest";
import type { Device } from "@/api/profiler";
import type { Note } from "@/api/profiler-query";
import { optionsOf, runOptions } from "./options";

const GPU: Device = {
  ...{ client: "b", device: "gpu:0", kind: "gpu", name: "", uuid: "", memory_total_bytes: 1, parent: "", seen_at: 0 },
  processes: [
    { pid: 1, account: "eve", command: "x", owner: "outsider:eve", memory_used_bytes: 1, sm_utilization: null },
  ],
};

function run(id: string, created_at: number, ended_at: number | null, name = id) {
  return { id, name, created_at, ended_at };
}

function note(name: string | null): Note {
  return { at: 1, kind: "op", text: "", experiment: null, run: name, client: null };
}

test("a finished run can be chosen for the time in which it lived", () => {
  const runs = [run("r3", 200, null, "fast"), run("r2", 50, 80), run("r1", 0, 20)];
  expect(runOptions(runs, [], [10, 60])).toEqual([
    { value: "r2", label: "r2" },
    { value: "r1", label: "r1" },
  ]);
  expect(runOptions(runs, [], [90, 300])).toEqual([{ value: "r3", label: "r3 fast" }]);
});

test("a run that is deleted by now is still named by what happened to it", () => {
  expect(runOptions([run("r1", 0, 20)], [note("r9"), note("r1"), note(null), note("r9")], [0, 60])).toEqual([
    { value: "r1", label: "r1" },
    { value: "r9" },
  ]);
});

test("users are also those whose processes are gone", () => {
  const shares = [
    { client: "a", device: "gpu:1", owner: "outsider:bob" },
    { client: "b", device: "gpu:0", owner: "outsider:eve" },
    { client: "a", device: "gpu:1", owner: "" },
  ];
  const options = optionsOf([GPU], shares);
  expect(options.owners.map((one) => one.label)).toEqual(["bob (not of gswarm)", "eve (not of gswarm)"]);
  expect(options.clients.map((one) => one.value)).toEqual(["a", "b"]);
  expect(options.gpus.map((one) => one.value)).toEqual(["gpu:0", "gpu:1"]);
});
