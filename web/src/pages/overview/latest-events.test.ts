import { expect, test } from "vitest";
import type { HostEvent } from "@/live/dirty";
import { newestOf } from "./latest-events";

function event(id: number): HostEvent {
  return { id, type: "chunk_trained", text: `event ${id}`, ids: {}, at: id };
}

test("what came before the page was opened stands behind what came since, each once", () => {
  expect(newestOf([event(12), event(11)], [event(9), event(10), event(11)]).map((one) => one.id)).toEqual([
    12, 11, 10, 9,
  ]);
  const many = Array.from({ length: 30 }, (_, index) => event(index + 1));
  expect(newestOf(many, []).map((one) => one.id)).toEqual([30, 29, 28, 27, 26, 25, 24, 23]);
});
