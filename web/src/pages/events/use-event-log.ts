/** Events since some while before the page was opened, and every one that comes. */
import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import { hostQuery } from "@/api/cluster";
import { readEvents } from "@/api/events";
import type { HostEvent } from "@/live/dirty";
import { onHostEvent } from "@/live/link";
import { joined } from "./event-log";

const READ_AT_ONCE = 1000;
const FLUSH_MS = 250;

interface EventLog {
  readonly events: readonly HostEvent[];
  readonly error: Error | null;
  readonly isReading: boolean;
  /** Whether the host keeps older ones. */
  readonly hasOlder: boolean;
  readOlder(): void;
}

/** What of the journal has been read: events behind `from`; the host keeps those from `oldest` on. */
interface Reach {
  readonly from: number;
  readonly oldest: number;
}

export function useEventLog(): EventLog {
  const cache = useQueryClient();
  const [events, setEvents] = useState<readonly HostEvent[]>([]);
  const [reach, setReach] = useState<Reach | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [isReading, setReading] = useState(true);
  const life = useRef(new AbortController());
  const add = useCallback((batch: readonly HostEvent[]) => setEvents((known) => joined(known, batch)), []);

  const read = useCallback(
    async (until: number, oldest: number, signal: AbortSignal) => {
      const from = Math.max(oldest - 1, until - READ_AT_ONCE);
      add(await readEvents(from, until, signal));
      setReach({ from, oldest });
    },
    [add],
  );
  const attempt = useCallback(async (work: (signal: AbortSignal) => Promise<void>) => {
    const { signal } = life.current;
    setReading(true);
    try {
      await work(signal);
      setError(null);
    } catch (failed) {
      if (!signal.aborted) setError(failed as Error);
    } finally {
      if (!signal.aborted) setReading(false);
    }
  }, []);

  useEffect(() => {
    const end = new AbortController();
    life.current = end;
    // New events are listened to before the newest old one is asked for: none falls between.
    const stop = followed(add);
    void attempt(async (signal) => {
      const { journal } = await cache.fetchQuery({ ...hostQuery, staleTime: 0 });
      await read(journal.newest_event, journal.oldest_event, signal);
    });
    return () => {
      end.abort();
      stop();
    };
  }, [add, attempt, cache, read]);

  return {
    events,
    error,
    isReading,
    hasOlder: reach !== null && reach.from >= reach.oldest,
    readOlder: () => {
      if (reach) void attempt((signal) => read(reach.from, reach.oldest, signal));
    },
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
