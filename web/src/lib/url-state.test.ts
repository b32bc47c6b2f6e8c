import { expect, test } from "vitest";
import { flagCodec, listCodec, numberCodec, patched, rangeCodec, sortCodec, textCodec } from "./url-state";

const AXIS = textCodec<"step" | "time">("step", ["step", "time"]);
const SMOOTHING = numberCodec(0, 0, 0.99);

test("defaults are left out of the address", () => {
  expect([
    AXIS.write("step"),
    SMOOTHING.write(0),
    flagCodec.write(false),
    listCodec.write([]),
    rangeCodec.write(null),
  ]).toEqual([null, null, null, null, null]);
  expect(sortCodec.write(null)).toBeNull();
});

test("what is written is read again", () => {
  expect(AXIS.read(AXIS.write("time"))).toBe("time");
  expect(SMOOTHING.read(SMOOTHING.write(0.6))).toBe(0.6);
  expect(listCodec.read(listCodec.write(["r1", "r2"]))).toEqual(["r1", "r2"]);
  expect(rangeCodec.read(rangeCodec.write([-1.5, 20]))).toEqual([-1.5, 20]);
  expect(rangeCodec.read(rangeCodec.write([1.2e-7, 3e21]))).toEqual([1.2e-7, 3e21]);
  for (const sort of [
    { column: "loss", descending: true },
    { column: "key:lora_rank", descending: false },
  ]) {
    expect(sortCodec.read(sortCodec.write(sort))).toEqual(sort);
  }
});

test("an address that somebody typed breaks nothing", () => {
  expect(AXIS.read("sideways")).toBe("step");
  expect([SMOOTHING.read("7"), SMOOTHING.read("-1"), SMOOTHING.read("much"), SMOOTHING.read("")]).toEqual([
    0.99, 0, 0, 0,
  ]);
  expect([rangeCodec.read("1"), rangeCodec.read("a~b"), rangeCodec.read("~"), rangeCodec.read(null)]).toEqual([
    null,
    null,
    null,
    null,
  ]);
  expect(rangeCodec.read("9~2")).toEqual([2, 9]);
  expect(listCodec.read("r1,,r2,r1")).toEqual(["r1", "r2"]);
  expect(sortCodec.read("")).toBeNull();
});

test("a change leaves the other parameters alone", () => {
  const before = new URLSearchParams("x=time&only=r1");
  expect(patched(before, { only: null, log: "1" }).toString()).toBe("x=time&log=1");
  expect(before.toString()).toBe("x=time&only=r1");
});
