/** The newest events of the host's journal. */
import { queryOptions } from "@tanstack/react-query";
import { hostQuery } from "@/api/cluster";
import { readEvents } from "@/api/events";
import type { HostEvent } from "@/live/dirty";

export const SHOWN_MAX = 8;

/** Those of before the page was opened; what comes later comes by the event stream. */
export const latestEventsQuery = queryOptions({
  queryKey: ["latest-events"],
  queryFn: async ({ client, signal }): Promise<readonly HostEvent[]> => {
    const { journal } = await client.fetchQuery({ ...hostQuery, staleTime: 0 });
    const after = Math.max(journal.oldest_event - 1, journal.newest_event - SHOWN_MAX, 0);
    return readEvents(after, journal.newest_event, signal);
  },
  staleTime: Infinity,
});

/** Of both lists the newest, each once, the newest first. */
export function newestOf(live: readonly HostEvent[], earlier: readonly HostEvent[]): readonly HostEvent[] {
  const byId = new Map([...earlier, ...live].map((event) => [event.id, event]));
  return [...byId.values()].sort((a, b) => b.id - a.id).slice(0, SHOWN_MAX);
}
