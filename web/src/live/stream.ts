/** One connection that follows the host's events for as long as the page is open, over breaks and restarts of the host. */
import { createParser } from "eventsource-parser";
import type { HostEvent } from "./dirty";

export type LinkState = "connecting" | "live" | "broken" | "logged-out";

export interface StreamHandlers {
  onEvent(event: HostEvent): void;
  onState(state: LinkState): void;
  /** Events were missed: nothing that was read before can be relied on. */
  onGap(): void;
}

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 8000;
/** The host sends a comment every 15 s; a connection that is silent for longer is dead. */
const SILENCE_MAX_MS = 40_000;

/** The wait before the attempt with that number, counted from 0. */
export function retryAfterMs(attempt: number, random: number): number {
  return Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** attempt) * (0.75 + 0.5 * random);
}

/** Runs until `signal` ends it or the login does. */
export async function followEvents(handlers: StreamHandlers, signal: AbortSignal): Promise<void> {
  let newest: number | null = null;
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    handlers.onState(attempt === 0 ? "connecting" : "broken");
    const outcome = await readOnce(newest, signal, {
      opened: () => {
        attempt = 0;
        handlers.onState("live");
      },
      event: (event) => {
        newest = event.id;
        handlers.onEvent(event);
      },
    });
    if (signal.aborted) return;
    if (outcome === "logged-out") {
      handlers.onState("logged-out");
      return;
    }
    if (outcome === "gap") {
      newest = null;
      handlers.onGap();
    }
    await paused(retryAfterMs(attempt, Math.random()), signal);
  }
}

type Outcome = "ended" | "gap" | "logged-out";

interface Reading {
  opened(): void;
  event(event: HostEvent): void;
}

async function readOnce(after: number | null, signal: AbortSignal, reading: Reading): Promise<Outcome> {
  const silence = new AbortController();
  const quiet = { timer: 0 };
  const heard = () => {
    clearTimeout(quiet.timer);
    quiet.timer = window.setTimeout(() => silence.abort(), SILENCE_MAX_MS);
  };
  try {
    heard();
    const response = await fetch("/api/v1/events", {
      headers: { Accept: "text/event-stream", ...(after === null ? {} : { "Last-Event-ID": String(after) }) },
      credentials: "same-origin",
      signal: AbortSignal.any([signal, silence.signal]),
    });
    if (response.status === 401) return "logged-out";
    // 404: older than what the host keeps. 422: newer than what it has, so it is another host or an older one.
    if (response.status === 404 || response.status === 422) return "gap";
    if (!response.ok || response.body === null) return "ended";
    reading.opened();
    const parser = createParser({ onEvent: (message) => reading.event(JSON.parse(message.data) as HostEvent) });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return "ended";
      heard();
      parser.feed(value);
    }
  } catch {
    return "ended";
  } finally {
    clearTimeout(quiet.timer);
  }
}

/** Ends early when the page comes back to the foreground, and with the signal. */
export function paused(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      window.removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    window.addEventListener("online", done);
  });
}
