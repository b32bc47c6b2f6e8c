/** A run's chunks: what was committed, where and when it was trained, and what is open. Pure. */
import type { TimelineView } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import type { ChunkBar } from "@/api/timeline";

export interface ChunkRow {
  readonly key: string;
  readonly fromStep: number;
  readonly toStep: number;
  readonly state: "committed" | "training" | "trained" | "waiting" | "failed" | "dropped";
  readonly slot: string | undefined;
  readonly from: number | undefined;
  /** `undefined` while it goes on, or where nobody knows. */
  readonly to: number | undefined;
  readonly metrics: Readonly<Record<string, number>>;
  readonly checkpointKept: boolean;
}

/** In the order in which they began; a failed attempt stands before the one that made it. */
export function chunkRows(run: RunView, commits: TimelineView["chunks"], bars: readonly ChunkBar[]): ChunkRow[] {
  const own = bars.filter((bar) => bar.run === run.id);
  const committed = commits
    .filter((chunk) => chunk.run === run.id)
    .map((chunk): ChunkRow => {
      const bar = own.findLast((one) => one.from_step === chunk.from_step && one.outcome === "trained");
      return {
        key: `c${chunk.to_step}`,
        fromStep: chunk.from_step,
        toStep: chunk.to_step,
        state: "committed",
        slot: bar?.slot,
        from: bar?.from,
        to: bar?.to ?? undefined,
        metrics: chunk.metrics,
        checkpointKept: chunk.checkpoint_kept,
      };
    });
  const lost = own
    .filter((bar) => bar.outcome === "failed" || bar.outcome === "dropped")
    .map((bar): ChunkRow => ({
      ...rowOf(bar),
      key: `l${bar.generation} ${bar.from_step}`,
      state: bar.outcome as "failed",
    }));
  const open = run.grants
    .filter((grant) => grant.to_step > run.position)
    .map((grant): ChunkRow => {
      const bar = own.find((one) => one.generation === grant.generation && one.from_step === grant.from_step);
      return {
        ...(bar ? rowOf(bar) : EMPTY),
        key: `g${grant.generation}`,
        fromStep: grant.from_step,
        toStep: grant.to_step,
        slot: grant.slot,
        state: grant.phase === "trained" ? "trained" : run.slot === grant.slot && bar ? "training" : "waiting",
      };
    });
  return [...committed, ...lost, ...open].sort(
    (a, b) => a.fromStep - b.fromStep || (a.from ?? Infinity) - (b.from ?? Infinity) || a.toStep - b.toStep,
  );
}

const EMPTY = { slot: undefined, from: undefined, to: undefined, metrics: {}, checkpointKept: false };

function rowOf(bar: ChunkBar): Omit<ChunkRow, "key" | "state"> {
  return {
    fromStep: bar.from_step,
    toStep: bar.to_step,
    slot: bar.slot,
    from: bar.from,
    to: bar.to ?? undefined,
    metrics: {},
    checkpointKept: false,
  };
}

export interface Bar {
  readonly row: ChunkRow;
  /** Shares of the whole time. */
  readonly left: number;
  readonly width: number;
}

/** Chunks with known times along one line; what lies between them is time that the run waited. */
export function barsOf(
  rows: readonly ChunkRow[],
  now: number,
): { bars: Bar[]; from: number; to: number; busy: number } | null {
  const timed = rows.filter((row) => row.from !== undefined);
  if (timed.length === 0) return null;
  const end = (row: ChunkRow) => row.to ?? Math.max(now, row.from as number);
  const from = Math.min(...timed.map((row) => row.from as number));
  const to = Math.max(...timed.map(end));
  const span = Math.max(to - from, 1e-3);
  const bars = timed.map((row) => ({
    row,
    left: ((row.from as number) - from) / span,
    width: (end(row) - (row.from as number)) / span,
  }));
  return {
    bars,
    from,
    to,
    busy: Math.min(
      1,
      bars.reduce((sum, bar) => sum + bar.width, 0),
    ),
  };
}
