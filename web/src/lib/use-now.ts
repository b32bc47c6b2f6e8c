import { useEffect, useState } from "react";

/** Seconds since the epoch, brought up to date every `everyMs`, and not at all where that is `null` or nobody looks. */
export function useNow(everyMs: number | null): number {
  const [now, setNow] = useState(() => Date.now() / 1000);
  useEffect(() => {
    if (everyMs === null) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) setNow(Date.now() / 1000);
    }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
