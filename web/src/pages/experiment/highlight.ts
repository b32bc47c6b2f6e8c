/** The run that the pointer is at, in whichever part of the page: a store, so that only what shows it renders. */
import { useSyncExternalStore } from "react";
import type { RowHighlight } from "@/ui/table/body-row";

let run: string | null = null;
const watchers = new Set<() => void>();

export function highlight(next: string | null): void {
  if (next === run) return;
  run = next;
  for (const watcher of watchers) watcher();
}

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

export function useHighlight(): string | null {
  return useSyncExternalStore(watch, () => run);
}

/** For tables: a row renders only when it becomes the one, or no longer is. */
export const highlightedRow: RowHighlight = { watch, current: () => run };
