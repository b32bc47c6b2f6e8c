/** What a verification found, in words. Pure. */
import { formatDuration, formatNumber, plural } from "@/lib/format";

export interface Verdict {
  readonly isIdentical: boolean;
  readonly title: string;
  readonly lines: readonly (readonly [name: string, text: string])[];
}

/** `result` is the host's document; what is missing in it is left out. */
export function verdictOf(result: Readonly<Record<string, unknown>>): Verdict {
  const isIdentical = result.identical === true;
  const lines: [string, string][] = [];
  const add = (name: string, text: string | null) => text !== null && lines.push([name, text]);
  if (!isIdentical) add("Largest difference", numberText(result.max_abs_difference));
  add("Trained again", typeof result.steps === "number" ? plural(result.steps, "step") : null);
  add("On", typeof result.device === "string" ? result.device : null);
  add("Took", typeof result.seconds === "number" ? formatDuration(result.seconds) : null);
  add("Weights", typeof result.digest === "string" ? result.digest : null);
  if (!isIdentical) add("Expected", typeof result.expected === "string" ? result.expected : null);
  return {
    isIdentical,
    title: isIdentical ? "Identical to training without interruption" : "Different from training without interruption",
    lines,
  };
}

function numberText(value: unknown): string | null {
  return typeof value === "number" ? formatNumber(value) : null;
}
