import { useEffect, useState, useSyncExternalStore } from "react";

/** Over the whole screen, where the browser has that and allows it; else nothing happens. Only in answer to a click or a key. */
export function enterFullScreen(): void {
  if (document.fullscreenEnabled) document.documentElement.requestFullscreen().catch(() => undefined);
}

function watch(changed: () => void): () => void {
  document.addEventListener("fullscreenchange", changed);
  return () => document.removeEventListener("fullscreenchange", changed);
}

/** Whether the page has the whole screen. `onLeave` is called when a person ends that; when the component goes it ends, too. */
export function useFullScreen(isWanted: boolean, onLeave: () => void): boolean {
  const isFull = useSyncExternalStore(watch, () => document.fullscreenElement !== null) && isWanted;
  const [wasFull, setWasFull] = useState(false);
  useEffect(() => {
    if (wasFull && !isFull) onLeave();
    setWasFull(isFull);
  }, [isFull, wasFull, onLeave]);
  useEffect(() => {
    if (!isFull) return undefined;
    return () => {
      if (document.fullscreenElement) void document.exitFullscreen().catch(() => undefined);
    };
  }, [isFull]);
  return isFull;
}

function watchHeight(changed: () => void): () => void {
  window.addEventListener("resize", changed);
  return () => window.removeEventListener("resize", changed);
}

/** Of the window, in pixels. */
export function useWindowHeight(): number {
  return useSyncExternalStore(watchHeight, () => window.innerHeight);
}
