import { type RefObject, useEffect, useRef, useState } from "react";

/** Whether an element is in sight, or nearly so. */
export function useSeen<T extends HTMLElement>(margin = "200px"): [RefObject<T | null>, boolean] {
  const element = useRef<T>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const watcher = new IntersectionObserver(([entry]) => setSeen(entry?.isIntersecting ?? false), {
      rootMargin: margin,
    });
    if (element.current) watcher.observe(element.current);
    return () => watcher.disconnect();
  }, [margin]);
  return [element, seen];
}
