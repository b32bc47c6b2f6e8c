import { expect, test } from "vitest";
import type { ClientView } from "@/api/cluster";
import { countsOf } from "./stats-model";

function client(state: string, ...queues: string[][]): ClientView {
  const name = `of-${state}`;
  const slot = { device: "cpu", device_name: "CPU", threads: 1, memory_bytes: 0, explanation: "" };
  const slots = queues.map((runs, index) => ({ ...slot, id: `${name}/${index}`, runs }));
  const rest = {
    connected: true,
    version: "1",
    labels: {},
    registered_at: 0,
    lost_at: null,
    lost_reason: "",
    certificate_expires_at: null,
  };
  return { ...rest, name, state, slots };
}

test("what is granted ahead waits, and does not train", () => {
  const counts = countsOf([client("ready", ["r1", "r2"], ["r3", "r3"], [])]);
  expect(counts).toMatchObject({ ready: 1, slots: 3, busy: 2, training: 2 });
  expect(counts.ahead).toEqual([{ run: "r2", slot: "of-ready/0" }]);
});

test("a gang is one run on several slots, and a client that drains still trains", () => {
  const counts = countsOf([client("draining", ["r1"], ["r1"])]);
  expect(counts).toMatchObject({ ready: 0, slots: 2, busy: 2, training: 1, ahead: [] });
});

test("what a lost client holds is not known", () => {
  expect(countsOf([client("lost", ["r1", "r2"])])).toEqual({ ready: 0, slots: 0, busy: 0, training: 0, ahead: [] });
});
