/** What can be chosen: what the range has, not only what is there now. Pure. */
import type { Device } from "@/api/profiler";
import type { AnswerLine, Note } from "@/api/profiler-query";
import type { RunView } from "@/api/runs";
import type { Option } from "@/ui/multi-select";
import { ownerLabel } from "./selection";

export interface Options {
  readonly clients: readonly Option[];
  readonly gpus: readonly Option[];
  readonly owners: readonly Option[];
}

/** `shares`: the lines of processes on GPUs in the range, which say whose they were. */
export function optionsOf(
  devices: readonly Device[],
  shares: readonly Pick<AnswerLine, "client" | "device" | "owner">[],
): Options {
  const gpus = devices.filter((one) => one.kind === "gpu" || one.kind === "mig");
  const owners = [...gpus.flatMap((one) => one.processes), ...shares]
    .map((one) => one.owner)
    .filter((owner) => owner !== "");
  return {
    clients: sorted([...devices, ...shares].map((one) => one.client)).map((value) => ({ value })),
    gpus: sorted([...gpus, ...shares].map((one) => one.device)).map((value) => ({ value })),
    owners: sorted(owners).map((value) => ({ value, label: ownerLabel(value) })),
  };
}

type Known = Pick<RunView, "id" | "name" | "created_at" | "ended_at">;

/** Runs that lived in the range, the newest first; and those that are deleted by now, which its notes still name. */
export function runOptions(
  runs: readonly Known[],
  notes: readonly Note[],
  [from, to]: readonly [number, number],
): readonly Option[] {
  const lived = runs.filter((run) => run.created_at <= to && (run.ended_at === null || run.ended_at >= from));
  const known = new Set(runs.map((run) => run.id));
  const gone = sorted(notes.flatMap((note) => note.run ?? [])).filter((run) => !known.has(run));
  const label = ({ id, name }: Known) => (name === id ? id : `${id} ${name}`);
  return [...lived.map((run) => ({ value: run.id, label: label(run) })), ...gone.map((value) => ({ value }))];
}

function sorted(names: readonly string[]): string[] {
  return [...new Set(names)].filter(Boolean).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}
