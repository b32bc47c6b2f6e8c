import { QueryClient } from "@tanstack/react-query";
import { afterEach, expect, test, vi } from "vitest";
import type { HostEvent } from "@/live/dirty";
import { latestEventsQuery, newestOf, SHOWN_MAX } from "./latest-events";

function event(id: number): HostEvent {
  return { id, type: "chunk_trained", text: `event ${id}`, ids: {}, at: id };
}

afterEach(() => vi.unstubAllGlobals());

test("what came before the page was opened stands behind what came since, each once", () => {
  expect(newestOf([event(12), event(11)], [event(9), event(10), event(11)]).map((one) => one.id)).toEqual([
    12, 11, 10, 9,
  ]);
  const many = Array.from({ length: 30 }, (_, index) => event(index + 1));
  expect(newestOf(many, []).map((one) => one.id)).toEqual([30, 29, 28, 27, 26, 25, 24, 23]);
});

vi.mock("@/api/cluster", () => ({
  hostQuery: { queryKey: ["host"], queryFn: async () => ({ journal: { oldest_event: 1, newest_event: 100 } }) },
}));

test("an opened page reads the newest events that the host keeps", async () => {
  vi.stubGlobal("fetch", async (address: string) => {
    const after = Number(/after=(\d+)/.exec(address)?.[1]);
    const frames = Array.from({ length: 100 - after }, (_, index) => event(after + index + 1));
    return new Response(frames.map((one) => `id: ${one.id}\ndata: ${JSON.stringify(one)}\n\n`).join(""));
  });
  const events = await new QueryClient().fetchQuery(latestEventsQuery);
  expect(events.map((one) => one.id)).toEqual(Array.from({ length: SHOWN_MAX }, (_, index) => 93 + index));
});
