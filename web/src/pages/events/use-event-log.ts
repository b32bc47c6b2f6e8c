/** Events of before the page was opened, as far back as is asked for, and every one that comes. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { type EventScope, pastEventsQuery } from "@/api/events";
import type { HostEvent } from "@/live/dirty";
import { onHostEvent } from "@/live/link";
import { joined } from "./event-log";

const FLUSH_MS = 250;

export interface EventLog {
  /** All that came live, and past ones of the scope. */
  readonly events: readonly HostEvent[];
  readonly error: Error | null;
  readonly isReading: boolean;
  /** Whether the host keeps older ones. */
  readonly hasOlder: boolean;
  /** Number of the oldest event that has been looked at; null before the first answer. */
  readonly reach: number | null;
  readOlder(): void;
}

export function useEventLog(scope: EventScope): EventLog {
  const { data, error, hasNextPage, isFetching, fetchNextPage } = useInfiniteQuery(pastEventsQuery(scope));
  const [live, setLive] = useState<readonly HostEvent[]>([]);
  useEffect(() => followed((batch) => setLive((known) => joined(known, batch))), []);
  const past = useMemo(() => data?.pages.flatMap((page) => page.items) ?? [], [data]);
  const events = useMemo(() => joined(past, live), [past, live]);
  const last = data?.pages.at(-1);
  return {
    events,
    error,
    isReading: isFetching,
    hasOlder: hasNextPage,
    reach: last ? Number(last.next_cursor ?? 1) : null,
    readOlder: () => void fetchNextPage(),
  };
}

/** Hands out new events, those of a moment together. */
function followed(add: (batch: readonly HostEvent[]) => void): () => void {
  let waiting: HostEvent[] = [];
  let timer = 0;
  const stop = onHostEvent((event) => {
    waiting.push(event);
    timer ||= window.setTimeout(() => {
      timer = 0;
      add(waiting);
      waiting = [];
    }, FLUSH_MS);
  });
  return () => {
    stop();
    clearTimeout(timer);
  };
}
