import { expect, test } from "vitest";
import { CLEAN, collect, type HostEvent, isClean, staleKeys } from "./dirty";

function event(type: string, ids: HostEvent["ids"], id = 1): HostEvent {
  return { id, type, text: "", ids, at: 0 };
}

test("nothing happened, nothing is stale", () => {
  expect(isClean(CLEAN)).toBe(true);
  expect(staleKeys(CLEAN)).toEqual([]);
});

test("a commit makes its run, its experiment and the lists stale, and no other run", () => {
  const dirty = collect(CLEAN, event("chunk_committed", { run: "r3", experiment: "e1", client: "left" }));
  const keys = staleKeys(dirty).map((key) => key.join("/"));
  expect(keys).toEqual(
    expect.arrayContaining(["run/r3", "experiment/e1", "experiments", "runs", "clients", "client/left"]),
  );
  expect(keys.some((key) => key.startsWith("run/") && key !== "run/r3")).toBe(false);
  expect(keys).not.toContain("queue");
});

test("many events of one run are one", () => {
  let dirty = CLEAN;
  for (let id = 0; id < 100; id += 1)
    dirty = collect(dirty, event("chunk_trained", { run: "r1", experiment: "e1" }, id));
  expect(dirty.runs.size).toBe(1);
  expect(CLEAN.runs.size).toBe(0);
});

test("a submitted experiment and a job's end change the queue", () => {
  for (const one of [event("experiment_submitted", { experiment: "e1" }), event("job_finished", { job: "j1" })]) {
    expect(staleKeys(collect(CLEAN, one))).toContainEqual(["queue"]);
  }
});

test("after a restore from a backup everything is stale", () => {
  const dirty = collect(collect(CLEAN, event("chunk_trained", { run: "r1" })), event("plan_restored", {}));
  expect(staleKeys(dirty)).toEqual([[]]);
});

test.each([
  event("client_lost", { client: "left" }),
  event("slots_occupied", { client: "left" }),
  event("timer_fired", { run: "r1", experiment: "e1" }),
  event("timer_fired", {}),
])("$type says nothing of the runs that it moves: all that shows runs is stale", (one) => {
  const dirty = collect(CLEAN, one);
  expect(isClean(dirty)).toBe(false);
  expect(staleKeys(dirty)).toEqual(
    expect.arrayContaining([["experiments"], ["host"], ["runs"], ["experiment"], ["clients"]]),
  );
});
