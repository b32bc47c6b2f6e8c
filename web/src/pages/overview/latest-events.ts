/** The newest events of the host's journal. */
import { queryOptions } from "@tanstack/react-query";
import { fetchPastEvents } from "@/api/events";
import type { HostEvent } from "@/live/dirty";

export const SHOWN_MAX = 8;

/** Those of before the page was opened; what comes later comes by the event stream. */
export const latestEventsQuery = queryOptions({
  queryKey: ["latest-events"],
  queryFn: async (): Promise<readonly HostEvent[]> => (await fetchPastEvents(SHOWN_MAX)).items,
  staleTime: Infinity,
});

/** Of both lists the newest, each once, the newest first. */
export function newestOf(live: readonly HostEvent[], earlier: readonly HostEvent[]): readonly HostEvent[] {
  const byId = new Map([...earlier, ...live].map((event) => [event.id, event]));
  return [...byId.values()].sort((a, b) => b.id - a.id).slice(0, SHOWN_MAX);
}
