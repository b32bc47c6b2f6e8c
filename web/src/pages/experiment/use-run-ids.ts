/** Runs that are chosen, in the address: `r1-r200,r207`. */
import { useEffect, useMemo } from "react";
import { ALL, type Codec, useUrlState } from "@/lib/url-state";

/** Of so many runs in a row the first and the last are written. */
const RANGE_MIN = 3;
/** No address makes more of one range. */
const RANGE_MAX = 10_000;

const RANGE = /^r(\d+)-r(\d+)$/;

export const runIdsCodec: Codec<readonly string[]> = {
  read: (text) => [...new Set((text ?? "").split(",").flatMap(idsOf))],
  write: (ids) => (ids.length > 0 ? ranges(ids).join(",") : null),
};

function idsOf(part: string): readonly string[] {
  const found = RANGE.exec(part);
  if (!found) return part ? [part] : [];
  const [from, to] = [Number(found[1]), Number(found[2])];
  return Array.from({ length: Math.min(RANGE_MAX, Math.max(0, to - from + 1)) }, (_, index) => `r${from + index}`);
}

function ranges(ids: readonly string[]): readonly string[] {
  const rows: string[][] = [];
  for (const id of ids) {
    const row = rows.at(-1);
    if (row && id === following(row.at(-1) as string)) row.push(id);
    else rows.push([id]);
  }
  return rows.flatMap((row) => (row.length < RANGE_MIN ? row : [`${row[0]}-${row.at(-1)}`]));
}

function following(id: string): string | null {
  return /^r\d+$/.test(id) ? `r${Number(id.slice(1)) + 1}` : null;
}

/** What is chosen stays that, whatever is `shown` later; "all" in an older address is what is shown at first. */
export function useRunIds(
  name: string,
  shown: readonly string[],
): [readonly string[], (ids: readonly string[]) => void] {
  const [written, write] = useUrlState(name, runIdsCodec);
  const isAll = written.includes(ALL);
  const ids = useMemo(() => (isAll ? shown : written), [isAll, shown, written]);
  useEffect(() => {
    if (isAll && shown.length > 0) write(shown);
  }, [isAll, shown, write]);
  return [ids, write];
}
