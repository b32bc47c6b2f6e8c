import { expect, test } from "vitest";
import { matches, parseFilter } from "@/lib/filter";
import type { HostEvent } from "@/live/dirty";
import { fieldsOf, isOfGroup, lookOf } from "./event-kinds";
import { dayHead, joined, mustReadOn, scopeOf } from "./event-log";

function event(id: number, type: string, text = "", ids: HostEvent["ids"] = {}): HostEvent {
  return { id, type, text, ids, at: id };
}

function ids(events: readonly HostEvent[]): number[] {
  return events.map((one) => one.id);
}

test("events are joined with the newest first, each once", () => {
  const live = joined([], [event(8, "a"), event(9, "a")]);
  expect(ids(joined(live, [event(10, "a")]))).toEqual([10, 9, 8]);
  expect(ids(joined(live, [event(6, "a"), event(7, "a"), event(8, "a")]))).toEqual([9, 8, 7, 6]);
  expect(joined(live, [])).toBe(live);
});

test("a day is named above its first event, today only below another day", () => {
  const at = (id: number, ...day: [number, number, number]) => ({
    ...event(id, "a"),
    at: new Date(...day, 9).getTime() / 1000,
  });
  const [today, late, early] = [at(3, 2026, 10, 24), at(2, 2026, 10, 23), at(1, 2026, 10, 23)];
  expect(dayHead(today, undefined, today.at)).toBeNull();
  expect(dayHead(late, today, today.at)).toBe("2026-11-23");
  expect(dayHead(early, late, today.at)).toBeNull();
  expect(dayHead(late, undefined, today.at)).toBe("2026-11-23");
});

test("the list has an end, and the oldest are let go", () => {
  expect(ids(joined([event(3, "a"), event(2, "a")], [event(4, "a"), event(1, "a")], 3))).toEqual([4, 3, 2]);
});

test("failures are a group wherever they happen", () => {
  const failed = [
    event(1, "chunk_failed"),
    event(2, "client_lost"),
    event(3, "job_finished", "job j1 failed on a: no room"),
  ];
  expect(failed.every((one) => isOfGroup(one, "failures"))).toBe(true);
  expect(isOfGroup(event(4, "job_finished", "job j1 is done on a"), "failures")).toBe(false);
  expect(isOfGroup(event(5, "chunk_committed"), "training")).toBe(true);
});

test("a kind that nobody knows has its own name and is in no group but all", () => {
  const unknown = event(1, "moon_risen");
  expect(lookOf("moon_risen").label).toBe("moon risen");
  expect([isOfGroup(unknown, "all"), isOfGroup(unknown, "training")]).toEqual([true, false]);
});

test("the filter tells r1 from r10, and finds a clone by its parent", () => {
  const found = (text: string, one: HostEvent) => matches(parseFilter(text), fieldsOf(one));
  expect(found("run=r1", event(1, "chunk_trained", "r10: trained", { run: "r10" }))).toBe(false);
  expect(found("run=r1", event(1, "chunk_trained", "r1: trained", { run: "r1" }))).toBe(true);
  expect(found("parent=r1", event(1, "run_clone_requested", "", { parent: "r1", run: "r9" }))).toBe(true);
  expect(found("client:lef committed", event(1, "chunk_committed", "", { client: "left" }))).toBe(true);
});

test("the host is asked for what the filter names, the page looks for the rest", () => {
  const asked = (text: string) => scopeOf(parseFilter(text), "all");
  expect(asked("run=R1 client=left cosine")).toEqual({ run: "r1", client: "left" });
  expect(asked("-run=r1 client:left id>=3")).toEqual({});
  expect(scopeOf([], "failures").kind).toEqual(["chunk_failed", "client_lost", "job_finished"]);
  expect(scopeOf([], "clients").kind).toContain("slots_occupied");
});

test("older events are read until something matches or there is no more", () => {
  const here = { isFiltered: true, shown: 0, read: 1000, hasOlder: true, failed: false };
  expect(mustReadOn(here)).toBe(true);
  expect(mustReadOn({ ...here, shown: 1 })).toBe(false);
  expect(mustReadOn({ ...here, hasOlder: false })).toBe(false);
  expect(mustReadOn({ ...here, failed: true })).toBe(false);
  expect(mustReadOn({ ...here, isFiltered: false })).toBe(false);
  expect(mustReadOn({ ...here, read: 20_000 })).toBe(false);
});
