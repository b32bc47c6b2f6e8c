import { expect, test } from "vitest";
import { placeEnds, placeWords } from "./words";

test("a word at the right edge stands left of its line, and is whole", () => {
  expect(placeWords([{ at: 95, width: 20 }], 0, 100, 4)).toEqual([71]);
  expect(placeWords([{ at: 50, width: 20 }], 0, 100, 4)).toEqual([54]);
});

test("of words that would meet the later one is said", () => {
  const near = [
    { at: 10, width: 20 },
    { at: 20, width: 20 },
    { at: 60, width: 20 },
  ];
  expect(placeWords(near, 0, 100, 4)).toEqual([null, 24, 64]);
  const together = [
    { at: 40, width: 20 },
    { at: 40, width: 10 },
  ];
  expect(placeWords(together, 0, 100, 4)).toEqual([null, 44]);
});

test("what is out of sight or has no word has no place", () => {
  const odd = [
    { at: -5, width: 10 },
    { at: 50, width: 0 },
    { at: 101, width: 5 },
    { at: 3, width: 200 },
  ];
  expect(placeWords(odd, 0, 100, 4)).toEqual([null, null, null, null]);
});

test("marks' words end where thresholds' words begin", () => {
  expect(placeWords([{ at: 60, width: 20 }], 0, 100, 4, 80)).toEqual([36]);
  expect(placeWords([{ at: 95, width: 20 }], 0, 100, 4, 80)).toEqual([null]);
  expect(placeWords([{ at: 30, width: 20 }], 0, 100, 4, 80)).toEqual([34]);
});

test("words of thresholds stand at the right end, beside each other where they share a row", () => {
  const near = [
    { y: 50, width: 20 },
    { y: 55, width: 30 },
    { y: 90, width: 10 },
  ];
  expect(placeEnds(near, 100, 4, 12)).toEqual([76, 42, 86]);
});
