import { useEffect, useMemo, useState } from "react";

/** Brings the line of the address into sight as soon as it is there; whether it is. */
export function useMarkedLine(
  marked: string,
  lines: readonly { readonly key: string }[],
  show: (target: { index: number }) => void,
): boolean {
  const index = useMemo(() => (marked === "" ? -1 : lines.findIndex((line) => line.key === marked)), [lines, marked]);
  // A line that a person marks on the page is in sight already.
  const [opened] = useState(marked);
  const [isShown, setShown] = useState(false);
  useEffect(() => {
    if (isShown || index < 0 || marked !== opened) return;
    setShown(true);
    show({ index });
  }, [index, isShown, marked, opened, show]);
  return index >= 0;
}
