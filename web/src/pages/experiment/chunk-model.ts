/** The chunk grid: which parts of a run are trained, train now, or wait. Pure; the arithmetic is that of `gswarm.domain.steps`. */
import type { TimelineView } from "@/api/experiments";
import type { RunView } from "@/api/runs";

export interface ChunkRule {
  /** Chunks an epoch. */
  readonly num_chunks?: number | null;
  /** Steps a chunk. */
  readonly steps?: number | null;
}

const AUTO_CHUNKS_PER_EPOCH = 8;

export type CellState = "done" | "training" | "committing" | "granted" | "waiting" | "skipped";

export interface ChunkCell {
  readonly from: number;
  readonly to: number;
  /** Chunks that it stands for. */
  readonly count: number;
  readonly state: CellState;
  /** Of its steps that are done, 0..1. */
  readonly share: number;
  readonly hasCheckpoint: boolean;
  /** Of the commit at its end. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** The steps at which the chunks of a run end. */
export function chunkEnds(rule: ChunkRule, epochSteps: number, totalSteps: number): number[] {
  const ends: number[] = [];
  for (let at = 0; at < totalSteps; at = ends.at(-1) as number) ends.push(nextEnd(at, rule, epochSteps, totalSteps));
  return ends;
}

function nextEnd(position: number, rule: ChunkRule, epochSteps: number, totalSteps: number): number {
  const epoch = Math.floor(position / epochSteps);
  const offset = position - epoch * epochSteps;
  let end: number;
  if (rule.steps != null) {
    end = (Math.floor(offset / rule.steps) + 1) * rule.steps;
  } else {
    const count = Math.min(rule.num_chunks ?? AUTO_CHUNKS_PER_EPOCH, epochSteps);
    const index = Math.floor(((offset + 1) * count - 1) / epochSteps);
    end = Math.floor(((index + 1) * epochSteps) / count);
  }
  return Math.min(epoch * epochSteps + Math.min(end, epochSteps), totalSteps);
}

/** Commits of a run by the step they end at. */
export type Commits = ReadonlyMap<
  number,
  { readonly metrics: Readonly<Record<string, number>>; readonly kept: boolean }
>;

export function commitsOf(timeline: TimelineView | undefined): ReadonlyMap<string, Commits> {
  const byRun = new Map<string, Map<number, { metrics: Record<string, number>; kept: boolean }>>();
  for (const chunk of timeline?.chunks ?? []) {
    const own = byRun.get(chunk.run) ?? new Map();
    own.set(chunk.to_step, { metrics: chunk.metrics, kept: chunk.checkpoint_kept });
    byRun.set(chunk.run, own);
  }
  return byRun;
}

export function chunkCells(run: RunView, rule: ChunkRule, commits: Commits | undefined): ChunkCell[] {
  let from = 0;
  return chunkEnds(rule, run.steps_per_epoch, run.total_steps).map((to) => {
    const commit = commits?.get(to);
    const begin = from;
    from = to;
    const state = stateOf(run, begin, to);
    const done = Math.max(0, Math.min(to, state === "granted" ? run.position : run.current_step) - begin);
    return {
      from: begin,
      to,
      count: 1,
      state,
      share: state === "done" ? 1 : state === "skipped" ? 0 : done / (to - begin),
      hasCheckpoint: commit?.kept ?? false,
      metrics: commit?.metrics ?? {},
    };
  });
}

/** At most `most` cells, each of as many chunks as it takes: what trains now is in sight without scrolling. */
export function binned(cells: readonly ChunkCell[], most: number): readonly ChunkCell[] {
  const each = Math.ceil(cells.length / most);
  if (each <= 1) return cells;
  return Array.from({ length: Math.ceil(cells.length / each) }, (_, index) =>
    joined(cells.slice(index * each, (index + 1) * each)),
  );
}

/** What stands for a bin where one of its chunks is in that state; then what all of them are. */
const LOUDEST: readonly CellState[] = ["training", "committing", "granted"];

function joined(cells: readonly ChunkCell[]): ChunkCell {
  const [first, last] = [cells[0], cells.at(-1)] as [ChunkCell, ChunkCell];
  const states = cells.map((cell) => cell.state);
  const steps = cells.reduce((sum, cell) => sum + cell.share * (cell.to - cell.from), 0);
  return {
    from: first.from,
    to: last.to,
    count: cells.length,
    state:
      LOUDEST.find((state) => states.includes(state)) ??
      (states.every((state) => state === first.state) ? first.state : "waiting"),
    share: steps / (last.to - first.from),
    hasCheckpoint: cells.some((cell) => cell.hasCheckpoint),
    metrics: cells.findLast((cell) => Object.keys(cell.metrics).length > 0)?.metrics ?? {},
  };
}

function stateOf(run: RunView, from: number, to: number): CellState {
  if (to <= run.first_step) return "skipped";
  if (to <= run.position) return "done";
  const grant = run.grants.find((one) => one.from_step < to && one.to_step > from);
  if (grant === undefined) return "waiting";
  if (grant.phase === "trained") return "committing";
  const active = run.grants.find((one) => one.phase !== "trained");
  return run.slot !== null && active === grant ? "training" : "granted";
}

export const WORDS: Readonly<Record<CellState, string>> = {
  done: "trained",
  training: "trains now",
  committing: "trained, its checkpoint is on its way",
  granted: "granted, waits on its slot",
  waiting: "waits",
  skipped: "before the clone's start",
};

/** One line for a whole row, for those who cannot see it. */
export function rowText(run: RunView): string {
  const now = run.slot ? `, trains on ${run.slot}` : "";
  return `${run.id}: ${run.chunks_done} of ${run.chunks_total} chunks${now}`;
}
