/** What of the time is in sight: the page's range, or what a hand makes of it until it rests. */
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { fixedRange, resolved, type TimeRange } from "@/lib/time-range";
import { useNow } from "@/lib/use-now";
import type { View } from "./view";

/** A movement that rests for so long is over: the address changes, and what is missing is read. */
const REST_MS = 250;

export interface Moving {
  readonly view: View;
  /** The view at rest: what is worked out of it need not follow every frame of a movement. */
  readonly rest: View;
  readonly now: number;
  move(change: (view: View) => View): void;
}

export function useView(range: TimeRange, onRange: (range: TimeRange) => void): Moving {
  const now = useNow(1000);
  const [from, to] = resolved(range, now);
  const [own, setOwn] = useState<View | null>(null);
  const current = useRef<View>({ from, to });
  const timer = useRef(0);
  const done = useRef(onRange);
  done.current = onRange;
  useEffect(() => setOwn(null), [range]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const view = own ?? { from, to };
  current.current = view;
  const move = useCallback((change: (view: View) => View) => {
    const next = change(current.current);
    if (next === current.current) return;
    current.current = next;
    setOwn(next);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => done.current(fixedRange(next.from, next.to)), REST_MS);
  }, []);
  return { view, rest: useMemo(() => ({ from, to }), [from, to]), now, move };
}
