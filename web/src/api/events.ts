/** What happened before the page was opened, as far back as it is asked for. */
import { createParser } from "eventsource-parser";
import type { HostEvent } from "@/live/dirty";
import { UnreachableError } from "./client";

/** Events behind `after` up to the one with the number `until`, the oldest first. The host's stream is read that far and no further. */
export async function readEvents(after: number, until: number, signal: AbortSignal): Promise<HostEvent[]> {
  if (until <= after) return [];
  const end = new AbortController();
  const response = await fetch(`/api/v1/events?after=${after}`, {
    credentials: "same-origin",
    signal: AbortSignal.any([signal, end.signal]),
  });
  // Not kept any more.
  if (response.status === 404) return [];
  if (!response.ok || response.body === null) throw new UnreachableError();
  const events: HostEvent[] = [];
  const parser = createParser({ onEvent: (message) => events.push(JSON.parse(message.data) as HostEvent) });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (!done) parser.feed(value);
    if (done || (events.at(-1)?.id ?? 0) >= until) break;
  }
  end.abort();
  return events.filter((event) => event.id <= until);
}
