/** What the host's events are called, and which belong together. Pure. */
import type { HostEvent } from "@/live/dirty";
import type { Fields } from "@/lib/filter";

export type EventGroup = "all" | "requests" | "training" | "clients" | "jobs" | "failures" | "timers";

/** The sign in front of an event, one of those of `StateBadge`. */
type Sign = "info" | "completed" | "failed" | "warning" | "queued" | "running" | "deleting";

interface KindLook {
  readonly label: string;
  readonly sign: Sign;
  readonly group: EventGroup;
}

const KINDS: Readonly<Record<string, KindLook>> = {
  experiment_submitted: { label: "submitted", sign: "info", group: "requests" },
  experiment_op_requested: { label: "operation", sign: "info", group: "requests" },
  run_op_requested: { label: "operation", sign: "info", group: "requests" },
  run_clone_requested: { label: "clone", sign: "info", group: "requests" },
  chunk_trained: { label: "trained", sign: "running", group: "training" },
  chunk_committed: { label: "committed", sign: "completed", group: "training" },
  chunk_failed: { label: "failed", sign: "failed", group: "failures" },
  grant_returned: { label: "given back", sign: "queued", group: "training" },
  client_registered: { label: "client here", sign: "completed", group: "clients" },
  client_lost: { label: "client gone", sign: "failed", group: "clients" },
  client_drain_requested: { label: "drain", sign: "warning", group: "clients" },
  slots_occupied: { label: "outsiders", sign: "warning", group: "clients" },
  job_requested: { label: "job asked", sign: "info", group: "jobs" },
  job_finished: { label: "job over", sign: "completed", group: "jobs" },
  plan_restored: { label: "restored", sign: "warning", group: "requests" },
  timer_fired: { label: "timer", sign: "deleting", group: "timers" },
};

export const GROUPS: readonly { readonly value: EventGroup; readonly label: string }[] = [
  { value: "all", label: "all" },
  { value: "requests", label: "what people asked" },
  { value: "training", label: "training" },
  { value: "failures", label: "failures" },
  { value: "clients", label: "clients" },
  { value: "jobs", label: "jobs" },
  { value: "timers", label: "timers" },
];

/** A kind that this page does not know yet is called by its own name. */
export function lookOf(type: string): KindLook {
  return KINDS[type] ?? { label: type.replaceAll("_", " "), sign: "queued", group: "all" };
}

/** Failures are a group of their own wherever they happen: of chunks, of jobs, of clients. */
export function isOfGroup(event: HostEvent, group: EventGroup): boolean {
  if (group === "all") return true;
  if (group === "failures") return isFailure(event);
  return lookOf(event.type).group === group;
}

/** Types of events that a group may have; undefined: any. */
export function kindsOf(group: EventGroup): string[] | undefined {
  if (group === "all") return undefined;
  if (group === "failures") return ["chunk_failed", "client_lost", "job_finished"];
  return Object.keys(KINDS).filter((type) => lookOf(type).group === group);
}

export function isFailure(event: HostEvent): boolean {
  return (
    event.type === "chunk_failed" ||
    event.type === "client_lost" ||
    (event.type === "job_finished" && / failed /.test(event.text))
  );
}

/** What the filter box looks at: `run=r1`, `client:a`, words of the sentence. */
export function fieldsOf(event: HostEvent): Fields {
  return {
    id: event.id,
    kind: `${event.type} ${lookOf(event.type).label}`,
    text: event.text,
    run: event.ids.run ?? event.ids.parent,
    parent: event.ids.parent,
    experiment: event.ids.experiment,
    client: event.ids.client,
    job: event.ids.job,
  };
}
