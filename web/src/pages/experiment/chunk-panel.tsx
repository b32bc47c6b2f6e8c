import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { memo, useMemo } from "react";
import { type ExperimentView, timelineQuery } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { useWidth } from "@/lib/use-width";
import { Empty, Panel } from "@/ui/panel";
import { RunSwatch, StateBadge } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import { CELL_PX, ChunkCells, ChunkLegend } from "./chunk-cells";
import { type ChunkRule, commitsOf } from "./chunk-model";
import css from "./experiment.module.css";
import { highlight, highlightedRow } from "./highlight";

const column = createColumnHelper<RunView>();
const PINNED = ["run"];
const [RUN_PX, STATE_PX, CHUNKS_PX, CELL_PADDING_PX] = [84, 110, 104, 26];
/** Of the panel's width that cells cannot have. */
const FIXED_PX = RUN_PX + STATE_PX + CHUNKS_PX + CELL_PADDING_PX;
/** On a phone the grid scrolls. */
const CELLS_LEAST = 32;

/** Runs x chunks: what is trained, what trains now, where checkpoints are kept. */
export const ChunkPanel = memo(function ChunkPanel({
  experiment,
  runs,
  nothing,
}: {
  experiment: ExperimentView;
  runs: readonly RunView[];
  /** Why there is no run. */
  nothing: string;
}) {
  const { data: timeline } = useQuery(timelineQuery(experiment.id));
  const [sort, setSort] = useUrlState("chunks", sortCodec);
  const commits = useMemo(() => commitsOf(timeline), [timeline]);
  const rule = experiment.spec.chunks as ChunkRule;
  const most = runs.reduce((max, run) => Math.max(max, run.chunks_total), 1);
  const [box, width] = useWidth<HTMLDivElement>();
  const room = Math.max(CELLS_LEAST, Math.floor((width - FIXED_PX) / CELL_PX));
  const cells = Math.min(most, room);
  const columns = useMemo(
    (): readonly Column<RunView>[] => [
      column.accessor((run) => Number(run.id.slice(1)), {
        id: "run",
        header: "Run",
        size: RUN_PX,
        cell: ({ row: { original: run } }) => (
          <span className={css.name}>
            <RunSwatch run={run.id} />
            {run.id}
          </span>
        ),
      }),
      column.accessor("state", {
        header: "State",
        size: STATE_PX,
        cell: (cell) => <StateBadge state={cell.getValue()} />,
      }),
      column.accessor("chunks_done", {
        header: "Chunks",
        size: CHUNKS_PX,
        meta: { align: "right" },
        cell: ({ row: { original: run } }) =>
          `${run.chunks_done.toLocaleString("en")} / ${run.chunks_total.toLocaleString("en")}`,
      }),
      column.display({
        id: "cells",
        header: "Start to end",
        meta: { grow: true },
        size: Math.max(240, cells * CELL_PX + CELL_PADDING_PX),
        cell: ({ row: { original: run } }) => (
          <ChunkCells run={run} rule={rule} commits={commits.get(run.id)} most={cells} />
        ),
      }),
    ],
    [cells, rule, commits],
  );
  return (
    <Panel
      title="Chunk grid"
      note={cells < most && `a cell is up to ${Math.ceil(most / cells)} chunks`}
      flush
      actions={<ChunkLegend />}
    >
      <div ref={box}>
        <DataTable
          label="Chunk grid"
          rows={runs}
          columns={columns}
          rowId={(run) => run.id}
          sort={sort}
          onSort={setSort}
          pinned={PINNED}
          onHover={highlight}
          highlighted={highlightedRow}
          maxHeight={400}
          empty={<Empty title={nothing} />}
        />
      </div>
    </Panel>
  );
});
