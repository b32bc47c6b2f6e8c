/** Events of before and of now in one list. Pure. */
import { formatDay } from "@/lib/format";
import type { EventScope } from "@/api/events";
import type { Filter } from "@/lib/filter";
import type { HostEvent } from "@/live/dirty";
import { type EventGroup, kindsOf } from "./event-kinds";

export const EVENTS_MAX = 20_000;

/** What the host is asked for: of the filter the conditions that name one thing, and the group. The page's own filter does the rest. */
export function scopeOf(filter: Filter, group: EventGroup): EventScope {
  const named = (field: string) =>
    filter.find((term) => term.field === field && term.comparison === "=" && !term.negated)?.value.toLowerCase();
  return {
    experiment: named("experiment"),
    run: named("run"),
    client: named("client"),
    job: named("job"),
    kind: kindsOf(group),
  };
}

interface Reading {
  /** Somebody asked for some of them only. */
  readonly isFiltered: boolean;
  readonly shown: number;
  readonly read: number;
  readonly hasOlder: boolean;
  readonly failed: boolean;
}

/** Whether older events are read on their own: nothing that was asked for is among those that are here. */
export function mustReadOn({ isFiltered, shown, read, hasOlder, failed }: Reading, eventsMax = EVENTS_MAX): boolean {
  return isFiltered && shown === 0 && hasOlder && !failed && read < eventsMax;
}

/** The newest first, each once; the oldest are let go. */
export function joined(
  known: readonly HostEvent[],
  added: readonly HostEvent[],
  eventsMax = EVENTS_MAX,
): readonly HostEvent[] {
  if (added.length === 0) return known;
  const [newest] = known;
  if (newest === undefined || added.every((event) => event.id > newest.id))
    return [...added.toSorted((a, b) => b.id - a.id), ...known].slice(0, eventsMax);
  const byId = new Map([...known, ...added].map((event) => [event.id, event]));
  return [...byId.values()].sort((a, b) => b.id - a.id).slice(0, eventsMax);
}

/** The day to name above an event in the list: of its first event; today needs none where the list begins with it. */
export function dayHead(event: HostEvent, above: HostEvent | undefined, now: number): string | null {
  const day = formatDay(event.at);
  return day === formatDay(above?.at ?? now) ? null : day;
}
