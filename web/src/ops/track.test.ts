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
    }),
    after(
      asked("k", "stop", "r1"),
      { kind: "answered", key: "k", seen: { kind: "run", view: testRun("r1", { state: "stopping" }) } },
      { kind: "seen", seen: { kind: "run", view: testRun("r1", { state: "stopped" }) } },
    ),
  ];
  expect(steps.map(([one]) => one?.phase)).toEqual(["requested", "acknowledged", "effective"]);
});

test("a clone is followed as the new run", () => {
  const [one] = after(asked("k", "clone", "r1"), {
    kind: "answered",
    key: "k",
    seen: { kind: "run", view: testRun("r9", { state: "queued" }) },
  });
  expect(one).toMatchObject({ on: { kind: "run", id: "r9" }, phase: "acknowledged" });
});

test("what is effective stays so, whatever the run does later", () => {
  const ops = after(
    asked("k", "resume", "r1"),
    { kind: "answered", key: "k", seen: { kind: "run", view: testRun("r1", { state: "running" }) } },
    { kind: "seen", seen: { kind: "run", view: testRun("r1", { state: "queued" }) } },
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
  expect(advance(ops, { kind: "seen", seen: { kind: "run", view: testRun("r2") } })).toBe(ops);
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
    { kind: "answered", key: "b", seen: { kind: "experiment", view } },
  );
  expect(ops.map((one) => [one.on.kind, one.phase])).toEqual([
    ["experiment", "acknowledged"],
    ["run", "requested"],
  ]);
  const [later] = advance(ops, {
    kind: "seen",
    seen: { kind: "experiment", view: { ...view, states: { stopped: 1 } } },
  });
  expect(later?.phase).toBe("effective");
});
