import { expect, test } from "vitest";
import { ApiError, UnreachableError } from "@/api/client";
import { shownError } from "./shown-error";

test("a host that is away hides nothing that was read before", () => {
  expect(shownError(new UnreachableError(), { id: "e1" })).toBeNull();
  expect(shownError(new ApiError(401, {}), { id: "e1" })).toBeNull();
});

test("without data, and for what is refused, the error is told", () => {
  const [away, gone] = [new UnreachableError(), new ApiError(404, { detail: "no such run" })];
  expect(shownError(away, undefined)).toBe(away);
  expect(shownError(gone, { id: "r1" })).toBe(gone);
  expect(shownError(null, undefined)).toBeNull();
});
