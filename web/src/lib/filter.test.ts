import { expect, test } from "vitest";
import { matches, parseFilter, rangeOf, withRange } from "./filter";

const RUN = {
  id: "r7",
  name: "warm start",
  state: "running",
  lr: 0.0003,
  optim: "adamw",
  slot: null,
  "rewards/margins": 0.5,
};

test.each([
  ["", true],
  ["r7", true],
  ["r8", false],
  ["RUNNING", true],
  ["state:run", true],
  ["state=run", false],
  ["state=running", true],
  ["-state:running", false],
  ["-cosine", true],
  ["lr>1e-4", true],
  ["lr>3e-4", false],
  ["lr>=3e-4", true],
  ["lr<=0.0003 lr=3e-4", true],
  ["state:running lr<1e-4", false],
  ['"warm start"', true],
  ['name:"warm start"', true],
  ["slot>0", false],
  ["slot:left", false],
  ["nothing:here", false],
  ["rewards/margins>0.1", true],
  ["rewards/margins>=0.6", false],
  ["-left/0", true],
])("%s: %s", (text, wanted) => expect(matches(parseFilter(text), RUN)).toBe(wanted));

test("what is half typed holds nothing back", () => {
  for (const text of ["state:", "lr>", '"', "-", "   "]) expect(matches(parseFilter(text), RUN)).toBe(true);
});

test("the range of a field is read and replaced, and the other words stay as they are", () => {
  const text = 'lr>=1e-4 -cosine "warm start" LR<=2 lr:3 -best>=1';
  expect(rangeOf(text, "lr")).toEqual([1e-4, 2]);
  expect(rangeOf(text, "best")).toEqual([null, null]);
  expect(rangeOf("lr>=1e lr<=much", "lr")).toEqual([null, null]);
  expect(withRange(text, "lr", [null, 0.5])).toBe('-cosine "warm start" lr:3 -best>=1 lr<=0.5');
  expect(withRange("", "best", [-1, 3])).toBe("best>=-1 best<=3");
});
