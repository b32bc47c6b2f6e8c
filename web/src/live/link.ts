/** The one event stream of the page and its state, as a store outside React: pages read it, nobody renders for an event. */
import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { apply } from "./apply";
import { CLEAN, collect, type Dirty, type HostEvent, isClean } from "./dirty";
import { followEvents, type LinkState } from "./stream";

/** Events of that long are handled together; of longer, while what the last ones changed is still being read. */
const FLUSH_MS = 300;
const RECENT_MAX = 200;

let state: LinkState = "connecting";
let recent: readonly HostEvent[] = [];
const watchers = new Set<() => void>();
const listeners = new Set<(event: HostEvent) => void>();

function changed(): void {
  for (const watcher of watchers) watcher();
}

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

/** Follows the host's events into the cache until the answer is called. */
export function openLink(client: QueryClient): () => void {
  const end = new AbortController();
  let dirty: Dirty = CLEAN;
  let timer = 0;
  let wasBroken = false;
  let isApplying = false;
  const flush = async () => {
    timer = 0;
    const now = dirty;
    dirty = CLEAN;
    changed();
    isApplying = true;
    await apply(client, now);
    isApplying = false;
    if (!isClean(dirty)) soon();
  };
  const soon = () => {
    if (!isApplying) timer ||= window.setTimeout(flush, FLUSH_MS);
  };
  void followEvents(
    {
      onEvent: (event) => {
        dirty = collect(dirty, event);
        recent = [event, ...recent].slice(0, RECENT_MAX);
        for (const listener of listeners) listener(event);
        soon();
      },
      onState: (next) => {
        // What is no event (metrics, sensors) went on while the line was down.
        if (next === "live" && wasBroken) void client.invalidateQueries();
        wasBroken = next === "broken" || (wasBroken && next !== "live");
        state = next;
        changed();
        if (next === "logged-out") void client.invalidateQueries({ queryKey: ["whoami"] });
      },
      onGap: () => {
        dirty = { ...dirty, everything: true };
        soon();
      },
    },
    end.signal,
  );
  return () => {
    end.abort();
    clearTimeout(timer);
  };
}

export function useLinkState(): LinkState {
  return useSyncExternalStore(watch, () => state);
}

/** The newest events since the page was opened, the newest first. */
export function useRecentEvents(): readonly HostEvent[] {
  return useSyncExternalStore(watch, () => recent);
}

/** Calls for every event, at once; the answer ends it. */
export function onHostEvent(listener: (event: HostEvent) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
