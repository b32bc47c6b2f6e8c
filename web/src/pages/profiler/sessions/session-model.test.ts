import { expect, it } from "vitest";
import { causeSums, causeText, wrongWish } from "./session-model";

it("sums idle time by its cause, the greatest first", () => {
  const bubble = (cause: "swap" | "waiting", from: number, to: number) => ({
    client: "a",
    device: "slot:0",
    from,
    to,
    cause,
  });
  expect(causeSums([bubble("swap", 0, 1), bubble("waiting", 5, 9), bubble("swap", 10, 12)])).toEqual([
    { cause: "waiting", count: 1, seconds: 4, longest: 4 },
    { cause: "swap", count: 2, seconds: 3, longest: 2 },
  ]);
  expect(causeText("client_lost")).toBe("client was lost");
  expect(causeText("of_tomorrow")).toBe("of tomorrow");
});

it("says why a session cannot begin", () => {
  expect(wrongWish("night-1", "1", [])).toBeNull();
  expect(wrongWish("night-1", "1", ["night-1"])).toContain("already");
  for (const name of ["", "../x", "-a", "a b", "a".repeat(65)]) expect(wrongWish(name, "1", [])).toContain("letters");
  for (const interval of ["", "0", "0.05", "4000", "x"]) expect(wrongWish("a", interval, [])).toContain("interval");
});
