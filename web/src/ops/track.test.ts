import { expect, test } from "vitest";
import type { ExperimentView } from "@/api/experiments";
import type { RunOp } from "@/api/runs";
import { testRun } from "@/api/test-run";
import { advance, experimentProgress, type OpEvent, progress, TRACKED_MAX, type TrackedOp } from "./track";

function after(...events: OpEvent[]): readonly TrackedOp[] {
  return events.reduce<readonly TrackedOp[]>(advance, []);
}

function asked(key: string, op: RunOp, run: string): OpEvent {
  return { kind: "asked", key, op, on: { kind: "run", id: run }, at: 0 };
}

test("a stop is requested, acknowledged, effective", () => {
  const steps = [
    after(asked("k", "stop", "r1")),
    after(asked("k", "stop", "r1"), {
      kind: "answered",
      key: "k",
      seen: { kind: "run", view: testRun("r1", { state: "stopping" }) },
      atMs: 10,
    }),
    after(
      asked("k", "stop", "r1"),
      { kind: "answered", key: "k", seen: { kind: "run", view: testRun("r1", { state: "stopping" }) }, atMs: 10 },
      { kind: "seen", seen: { kind: "run", view: testRun("r1", { state: "stopped" }) }, readMs: 20 },
    ),
  ];
  expect(steps.map(([one]) => one?.phase)).toEqual(["requested", "acknowledged", "effective"]);
});

test.each([
  ["stop", "stopping", "running"],
  ["resume", "queued", "stopped"],
] as const)("what was read before the answer to a %s says nothing about it", (op, after_, before) => {
  const ops = after(asked("k", op, "r1"), {
    kind: "answered",
    key: "k",
    seen: { kind: "run", view: testRun("r1", { state: after_ }) },
    atMs: 10,
  });
  const seen = (readMs: number): OpEvent => ({
    kind: "seen",
    seen: { kind: "run", view: testRun("r1", { state: before }) },
    readMs,
  });
  expect(advance(ops, seen(9))).toBe(ops);
  expect(advance(ops, seen(10))[0]?.phase).toBe("effective");
});

test("a clone is followed as the new run", () => {
  const [one] = after(asked("k", "clone", "r1"), {
    kind: "answered",
    key: "k",
    seen: { kind: "run", view: testRun("r9", { state: "queued" }) },
    atMs: 10,
  });
  expect(one).toMatchObject({ on: { kind: "run", id: "r9" }, phase: "acknowledged" });
});

test("what is effective stays so, whatever the run does later", () => {
  const ops = after(
    asked("k", "resume", "r1"),
    { kind: "answered", key: "k", seen: { kind: "run", view: testRun("r1", { state: "running" }) }, atMs: 10 },
    { kind: "seen", seen: { kind: "run", view: testRun("r1", { state: "queued" }) }, readMs: 20 },
  );
  expect(ops[0]?.phase).toBe("effective");
});

test("a later wish takes the place of one that waits, not of a clone and not of another run's", () => {
  const ops = after(
    asked("a", "stop", "r1"),
    asked("b", "clone", "r1"),
    asked("c", "stop", "r2"),
    asked("d", "resume", "r1"),
  );
  expect(ops.map((one) => one.key)).toEqual(["d", "c", "b"]);
});

test("a refusal says why and is over", () => {
  const ops = after(asked("k", "stop", "r1"), { kind: "refused", key: "k", note: "it has ended" });
  expect(ops[0]).toMatchObject({ phase: "refused", note: "it has ended" });
  expect(advance(ops, { kind: "forgotten", phases: ["refused"] })).toEqual([]);
});

test("events of runs that nobody asked about change nothing", () => {
  const ops = after(asked("k", "stop", "r1"));
  expect(advance(ops, { kind: "seen", seen: { kind: "run", view: testRun("r2") }, readMs: 20 })).toBe(ops);
});

test("the list has an end", () => {
  const events = Array.from({ length: TRACKED_MAX + 20 }, (_, index) => asked(`k${index}`, "stop", `r${index}`));
  expect(after(...events)).toHaveLength(TRACKED_MAX);
});

test.each([
  ["stop", "stopping", "acknowledged"],
  ["stop", "completed", "effective"],
  ["resume", "queued", "acknowledged"],
  ["resume", "running", "effective"],
  ["delete", "deleting", "effective"],
  ["restore", "deleting", "acknowledged"],
  ["restore", "stopped", "effective"],
] as const)("%s of a run that is %s is %s", (op, state, phase) => {
  expect(progress(op, testRun("r1", { state })).phase).toBe(phase);
});

test.each([
  ["stop", "active", { stopping: 2, stopped: 1 }, "acknowledged"],
  ["stop", "idle", { stopped: 3 }, "effective"],
  ["resume", "active", { queued: 3 }, "acknowledged"],
  ["resume", "active", { queued: 2, running: 1 }, "effective"],
  ["delete", "active", { running: 1 }, "acknowledged"],
  ["delete", "deleted", { deleting: 3 }, "effective"],
  ["restore", "deleted", { deleting: 3 }, "acknowledged"],
  ["restore", "idle", { stopped: 3 }, "effective"],
] as const)("%s of an experiment that is %s with %o is %s", (op, state, states, phase) => {
  expect(experimentProgress(op, { state, states }).phase).toBe(phase);
});

test("an operation on an experiment is followed beside those on its runs", () => {
  const view = { id: "e1", name: "tiny", state: "active", states: { stopping: 1 } } as unknown as ExperimentView;
  const ops = after(
    asked("a", "stop", "r1"),
    { kind: "asked", key: "b", op: "stop", on: { kind: "experiment", id: "e1", name: "tiny" }, at: 0 },
    { kind: "answered", key: "b", seen: { kind: "experiment", view }, atMs: 10 },
  );
  expect(ops.map((one) => [one.on.kind, one.phase])).toEqual([
    ["experiment", "acknowledged"],
    ["run", "requested"],
  ]);
  const [later] = advance(ops, {
    kind: "seen",
    seen: { kind: "experiment", view: { ...view, states: { stopped: 1 } } },
    readMs: 20,
  });
  expect(later?.phase).toBe("effective");
});
