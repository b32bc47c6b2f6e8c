import { expect, test } from "vitest";
import { runIdsCodec } from "./use-run-ids";

test("runs in a row are written as a range, whatever else is chosen", () => {
  const ids = [...Array.from({ length: 1200 }, (_, index) => `r${index + 1}`), "r1300", "r1302", "r1303"];
  expect(runIdsCodec.write(ids)).toBe("r1-r1200,r1300,r1302,r1303");
  expect(runIdsCodec.read(runIdsCodec.write(ids))).toEqual(ids);
  expect(runIdsCodec.write(["r3", "r2", "r1"])).toBe("r3,r2,r1");
  expect(runIdsCodec.write([])).toBeNull();
});

test("an address that somebody typed breaks nothing", () => {
  expect(runIdsCodec.read("r3-r1,,r2,r2-r3")).toEqual(["r2", "r3"]);
  expect(runIdsCodec.read("r1-r999999999")).toHaveLength(10_000);
  expect(runIdsCodec.read(null)).toEqual([]);
  expect(runIdsCodec.read("tiny-r1")).toEqual(["tiny-r1"]);
});
