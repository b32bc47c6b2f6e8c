import { expect, test } from "vitest";
import { asText, differences, editableKeys, FIXED_KEYS, wishOf, worthOf } from "./clone-model";

const SPEC = {
  learning_rate: 0.0003,
  lora_target: ["q_proj", "v_proj"],
  max_steps: null,
  bf16: false,
  dataset: "chat.jsonl",
  seed: 7,
};

test("values as fields show them", () => {
  expect(Object.values(SPEC).map(asText)).toEqual(["0.0003", "q_proj,v_proj", "", "false", "chat.jsonl", "7"]);
});

test("model and data cannot be changed, and the usual keys come first", () => {
  const keys = editableKeys(SPEC);
  expect(keys.some((key) => FIXED_KEYS.has(key))).toBe(false);
  expect(keys.slice(0, 3)).toEqual(["learning_rate", "max_steps", "seed"]);
});

test("only what differs is a difference", () => {
  expect(
    differences(SPEC, { learning_rate: "3e-4", seed: "7", bf16: "false", lora_target: "q_proj, v_proj " }),
  ).toEqual([{ key: "lora_target", before: "q_proj,v_proj", after: "q_proj, v_proj" }]);
  expect(differences(SPEC, { learning_rate: "1e-3" })).toEqual([
    { key: "learning_rate", before: "0.0003", after: "1e-3" },
  ]);
});

test("an empty field is no value, which is not the text nothing", () => {
  expect(wishOf({ ...SPEC, max_steps: 40 }, { max_steps: "" }, "")).toEqual({
    set: { max_steps: null },
    warm_start: null,
  });
  expect(wishOf(SPEC, {}, "120")).toEqual({ set: {}, warm_start: "120" });
});

test("a checkpoint is worth what its objective says, not what the alphabet does", () => {
  const metrics = { eval_entropy: 3, eval_loss: 1.25, eval_accuracy: 0.5 };
  const best = (metric: string) => ({ best: { metric, value: 1, step: 1, checkpoint: null } });
  expect(worthOf({ metrics }, best("eval_accuracy"))).toBe("eval_accuracy 0.5000");
  expect(worthOf({ metrics }, { best: null })).toBe("eval_loss 1.2500");
  expect(worthOf({ metrics: { eval_entropy: 3 } }, best("eval_accuracy"))).toBe("eval_entropy 3.0000");
  expect(worthOf({ metrics: { loss: 3 } }, { best: null })).toBe("");
});
