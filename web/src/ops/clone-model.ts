/** What the clone editor knows: the parent's keys as text, what was changed, and the request that makes. Pure. */
import type { CheckpointView, CloneWish, RunView } from "@/api/runs";
import { formatMetric } from "@/lib/format";

/** Model and data are the parent's: they were prepared and checked once. */
export const FIXED_KEYS: ReadonlySet<string> = new Set([
  "model_name_or_path",
  "dataset",
  "eval_dataset",
  "val_size",
  "max_samples",
  "template",
  "cutoff_len",
  "train_on_prompt",
  "packing",
  "stage",
]);

/** Keys that are changed most often stand first. */
const FIRST = [
  "learning_rate",
  "lr_scheduler_type",
  "num_train_epochs",
  "max_steps",
  "warmup_ratio",
  "per_device_train_batch_size",
  "gradient_accumulation_steps",
  "weight_decay",
  "lora_rank",
  "lora_alpha",
  "lora_dropout",
  "seed",
];

export type Spec = Readonly<Record<string, unknown>>;
export type Edits = Readonly<Record<string, string>>;

/** What a checkpoint is worth: `eval_loss 1.2345`, by the objective of its run; else by an evaluation; "" where it has none. */
export function worthOf(checkpoint: Pick<CheckpointView, "metrics">, run: Pick<RunView, "best">): string {
  const { metrics } = checkpoint;
  const objective = run.best?.metric ?? "";
  const name = [objective, "eval_loss"].find((one) => one in metrics) ?? Object.keys(metrics).find(isEvaluation);
  return name === undefined ? "" : `${name} ${formatMetric(metrics[name])}`;
}

function isEvaluation(name: string): boolean {
  return name.startsWith("eval");
}

/** A value as it stands in an input field; what is not set is empty. */
export function asText(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(asText).join(",");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Keys that a clone may change, the usual ones first. */
export function editableKeys(spec: Spec): string[] {
  const keys = Object.keys(spec).filter((key) => !FIXED_KEYS.has(key));
  const rank = (key: string) => (FIRST.includes(key) ? FIRST.indexOf(key) : FIRST.length);
  return keys.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

export interface Difference {
  readonly key: string;
  readonly before: string;
  readonly after: string;
}

/** Numbers that are written in another way are the same: `1e-4` and `0.0001`. */
export function differences(spec: Spec, edits: Edits): Difference[] {
  return Object.entries(edits)
    .map(([key, after]) => ({ key, before: asText(spec[key]), after: after.trim() }))
    .filter(
      ({ before, after }) => before !== after && !(before !== "" && after !== "" && Number(before) === Number(after)),
    )
    .sort((a, b) => a.key.localeCompare(b.key));
}

/** `start`: "" for a cold clone. */
export function wishOf(spec: Spec, edits: Edits, start: string): CloneWish {
  const set = Object.fromEntries(differences(spec, edits).map(({ key, after }) => [key, after === "" ? null : after]));
  return { set, warm_start: start === "" ? null : start };
}
