import { expect, test } from "vitest";
import type { PoolManifestView } from "@/api/pool";
import { matches, parseFilter } from "@/lib/filter";
import { fieldsOf, placeOf, sumOf } from "./pool-model";

const MANIFEST: PoolManifestView = {
  manifest: "ab".repeat(32),
  kind: "checkpoint",
  size_bytes: 1000,
  holders: ["host", "a"],
  run: "r1",
  step: 40,
  runs: 1,
  experiments: ["e1"],
};

test("where a manifest is", () => {
  expect([["host", "a"], ["a", "b"], []].map((holders) => placeOf({ ...MANIFEST, holders }))).toEqual([
    "host",
    "clients",
    "unknown",
  ]);
});

test("sums say what they do not know", () => {
  expect(
    sumOf([
      { kind: "base", manifests: 2, size_bytes: 10, unknown: 1 },
      { kind: "data", manifests: 1, size_bytes: 5, unknown: 0 },
    ]),
  ).toEqual({ manifests: 3, bytes: 15, unknown: 1 });
});

test("manifests are found by run, holder and size", () => {
  const found = (text: string, item: PoolManifestView) => matches(parseFilter(text), fieldsOf(item));
  expect(found("run=r1 holder:host size>=1000", MANIFEST)).toBe(true);
  expect(found("size>0", { ...MANIFEST, size_bytes: null })).toBe(false);
});
