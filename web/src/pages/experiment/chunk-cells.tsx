import { memo, useMemo } from "react";
import type { RunView } from "@/api/runs";
import { formatMetric, formatPercent } from "@/lib/format";
import { runColorCss } from "@/lib/run-color";
import {
  binned,
  type CellState,
  type ChunkCell,
  type ChunkRule,
  chunkCells,
  type Commits,
  rowText,
  WORDS,
} from "./chunk-model";
import css from "./experiment.module.css";

export const CELL_PX = 18;
const SIZE = 14;

interface ChunkCellsProps {
  run: RunView;
  /** Cells that there is room for. */
  most: number;
  rule: ChunkRule;
  commits: Commits | undefined;
}

/** One row of the grid. */
export const ChunkCells = memo(function ChunkCells({ run, rule, commits, most }: ChunkCellsProps) {
  const cells = useMemo(() => binned(chunkCells(run, rule, commits), most), [run, rule, commits, most]);
  return (
    <svg width={cells.length * CELL_PX} height={20} role="img" aria-label={rowText(run)} className={css.cells}>
      {cells.map((cell, index) => (
        <Cell key={cell.to} cell={cell} x={index * CELL_PX + 1} color={runColorCss(run.id)} />
      ))}
    </svg>
  );
});

function Cell({ cell, x, color }: { cell: ChunkCell; x: number; color: string }) {
  const box = { x, y: 3, width: SIZE, height: SIZE, rx: 3 };
  return (
    <g style={{ color }} className={css[cell.state]}>
      <title>{titleOf(cell)}</title>
      <rect {...box} className={css.cellBack} />
      {cell.share > 0 && <rect {...box} width={SIZE * cell.share} className={css.cellFill} />}
      {cell.state !== "waiting" && cell.state !== "skipped" && cell.state !== "done" && (
        <rect {...box} className={css.cellFrame} />
      )}
      {cell.hasCheckpoint && <circle cx={x + SIZE / 2} cy={10} r={2.5} className={css.cellDot} />}
    </g>
  );
}

function titleOf(cell: ChunkCell): string {
  const values = Object.entries(cell.metrics).map(([name, value]) => `${name} ${formatMetric(value)}`);
  const kept = cell.hasCheckpoint ? ["checkpoint kept"] : [];
  const steps = `Steps ${cell.from.toLocaleString("en")} to ${cell.to.toLocaleString("en")}`;
  const chunks = cell.count > 1 ? `, ${cell.count} chunks, ${formatPercent(cell.share)} done` : "";
  return [`${steps}${chunks}: ${WORDS[cell.state]}`, ...kept, ...values].join("\n");
}

const SAMPLES: readonly { state: CellState; share: number; kept?: boolean; text: string }[] = [
  { state: "done", share: 1, text: "trained" },
  { state: "done", share: 1, kept: true, text: "checkpoint kept" },
  { state: "training", share: 0.5, text: "trains now" },
  { state: "granted", share: 0, text: "granted" },
  { state: "waiting", share: 0, text: "waits" },
];

export function ChunkLegend() {
  return (
    <span className={css.legend}>
      {SAMPLES.map(({ state, share, kept = false, text }) => (
        <span key={text}>
          <svg width={CELL_PX} height={20} aria-hidden>
            <Cell
              cell={{ from: 0, to: 1, count: 1, state, share, hasCheckpoint: kept, metrics: {} }}
              x={1}
              color="var(--accent)"
            />
          </svg>
          {text}
        </span>
      ))}
    </span>
  );
}
