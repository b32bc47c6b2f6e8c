/** What runs printed: in pages, and followed as it comes. */
import { createParser } from "eventsource-parser";
import { paused, retryAfterMs } from "@/live/stream";
import { ApiError, api, taken } from "./client";
import type { LogLineView } from "./schema";

export type { LogLineView } from "./schema";

const PAGE_LINES = 5000;

export interface LogHandlers {
  onLines(lines: readonly LogLineView[]): void;
  onState(state: LogState, error?: Error): void;
}

/** `reading`: lines that were there before; `live`: each as it comes; `broken`: tries again; `refused`: does not. */
export type LogState = "reading" | "live" | "broken" | "refused";

/** Hands out every line behind `after`, then follows, over breaks, until `signal` ends it. */
export async function followLog(run: string, after: number, handlers: LogHandlers, signal: AbortSignal): Promise<void> {
  let newest = after;
  const take = (lines: readonly LogLineView[]) => {
    if (lines.length === 0) return;
    newest = lines[lines.length - 1]?.line ?? newest;
    handlers.onLines(lines);
  };
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    try {
      handlers.onState(attempt === 0 ? "reading" : "broken");
      for (let count = PAGE_LINES; count === PAGE_LINES;) {
        const page = await readPage(run, newest, signal);
        attempt = 0;
        count = page.length;
        take(page);
      }
      await readStream(run, newest, take, () => handlers.onState("live"), signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status < 500) {
        handlers.onState("refused", error);
        return;
      }
    }
    handlers.onState("broken");
    await paused(retryAfterMs(attempt, Math.random()), signal);
  }
}

async function readPage(run: string, after: number, signal: AbortSignal): Promise<readonly LogLineView[]> {
  const query = { after_line: after, limit: PAGE_LINES };
  return (await taken(api.GET("/api/v1/runs/{run}/logs", { params: { path: { run }, query }, signal }))).lines;
}

async function readStream(
  run: string,
  after: number,
  take: (lines: readonly LogLineView[]) => void,
  opened: () => void,
  signal: AbortSignal,
): Promise<void> {
  const path = `/api/v1/runs/${encodeURIComponent(run)}/logs?follow=true&after_line=${after}`;
  const response = await fetch(path, { credentials: "same-origin", signal });
  if (!response.ok || response.body === null) throw new ApiError(response.status, {});
  opened();
  let batch: LogLineView[] = [];
  const parser = createParser({ onEvent: (message) => batch.push(JSON.parse(message.data) as LogLineView) });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    parser.feed(value);
    take(batch);
    batch = [];
  }
}
