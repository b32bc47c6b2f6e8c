import type { SessionView } from "@/api/profiler-sessions";
import { expect, it } from "vitest";
import { causeText, intervalHint, intervalText, wrongWish, sessionRows } from "./session-model";

it("names causes for people", () => {
  expect(causeText("client_lost")).toBe("client was lost");
  expect(causeText("of_tomorrow")).toBe("of tomorrow");
});

it("says why a session cannot begin", () => {
  expect(wrongWish("night-1", "1", [])).toBeNull();
  expect(wrongWish("night-1", "1", ["night-1"])).toContain("already");
  for (const name of ["", "../x", "-a", "a b", "a".repeat(65)]) expect(wrongWish(name, "1", [])).toContain("letters");
  for (const interval of ["", "0", "0.05", "1.5", "4000", "x"])
    expect(wrongWish("a", interval, [])).toContain("interval");
});

it("says what is sampled at another interval", () => {
  expect(intervalText({ interval_s: 1, other_intervals_s: {} })).toBe("1.0 s");
  expect(intervalHint({ interval_s: 1, other_intervals_s: {} })).toBeUndefined();
  const session = { interval_s: 0.1, other_intervals_s: { gpu_xid: 1, mfu: 0.5, gpu_pcie_rx: 1 } };
  expect(intervalText(session)).toBe("100 ms, 500 ms for 1 metric, 1.0 s for 2 metrics");
  expect(intervalHint(session)).toBe("500 ms: mfu\n1.0 s: gpu_xid, gpu_pcie_rx");
});

it("a session that runs grows with the clock, one that is over does not", () => {
  const session = { started_at: 100, stopped_at: null } as SessionView;
  const over = { started_at: 100, stopped_at: 130 } as SessionView;
  const lengths = (now: number) => sessionRows([session, over], now).map((row) => row.length);
  expect([lengths(100.05), lengths(160)]).toEqual([
    [expect.closeTo(0.05), 30],
    [60, 30],
  ]);
  expect(sessionRows([session], 90)[0]?.length).toBe(0);
});
