import { expect, test } from "vitest";
import { plainText } from "./plain-text";

test.each([
  ["plain\ttext, Grüße 你好", "plain\ttext, Grüße 你好"],
  ["\x1b[1;31mred\x1b[0m", "red"],
  ["\x1b]0;a title\x07after", "after"],
  ["\x1b]8;;http://evil/\x1b\\link\x1b]8;;\x1b\\", "link"],
  ["\x1b]0;without an end", ""],
  ["up\x1b[2Aand\x1b[2Kgone", "upandgone"],
  ["a\x1b", "a"],
  ["bell\x07 null\x00 delete\x7f", "bell\u2407 null\u2400 delete\u2421"],
  ["user\u202etxt.exe", "user\ufffdtxt.exe"],
])("%j reads %j", (printed, shown) => {
  expect(plainText(printed)).toBe(shown);
});
