import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { memo, useMemo } from "react";
import { type ExperimentView, timelineQuery } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { Empty, Panel } from "@/ui/panel";
import { RunSwatch, StateBadge } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import { CELL_PX, ChunkCells, ChunkLegend } from "./chunk-cells";
import { type ChunkRule, commitsOf } from "./chunk-model";
import css from "./experiment.module.css";
import { highlight, highlightedRow } from "./highlight";

const column = createColumnHelper<RunView>();
const PINNED = ["run"];

/** Runs x chunks: what is trained, what trains now, where checkpoints are kept. */
export const ChunkPanel = memo(function ChunkPanel({
  experiment,
  runs,
}: {
  experiment: ExperimentView;
  runs: readonly RunView[];
}) {
  const { data: timeline } = useQuery(timelineQuery(experiment.id));
  const [sort, setSort] = useUrlState("chunks", sortCodec);
  const commits = useMemo(() => commitsOf(timeline), [timeline]);
  const rule = experiment.spec.chunks as ChunkRule;
  const most = runs.reduce((max, run) => Math.max(max, run.chunks_total), 1);
  const columns = useMemo(
    (): readonly Column<RunView>[] => [
      column.accessor((run) => Number(run.id.slice(1)), {
        id: "run",
        header: "Run",
        size: 84,
        cell: ({ row: { original: run } }) => (
          <span className={css.name}>
            <RunSwatch run={run.id} />
            {run.id}
          </span>
        ),
      }),
      column.accessor("state", { header: "State", size: 110, cell: (cell) => <StateBadge state={cell.getValue()} /> }),
      column.accessor("chunks_done", {
        header: "Chunks",
        size: 80,
        meta: { align: "right" },
        cell: ({ row: { original: run } }) => `${run.chunks_done} / ${run.chunks_total}`,
      }),
      column.display({
        id: "cells",
        header: "Start to end",
        meta: { grow: true },
        size: Math.max(240, most * CELL_PX + 20),
        cell: ({ row: { original: run } }) => <ChunkCells run={run} rule={rule} commits={commits.get(run.id)} />,
      }),
    ],
    [most, rule, commits],
  );
  return (
    <Panel title="Chunk grid" flush actions={<ChunkLegend />}>
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
        empty={<Empty title="No runs to show" />}
      />
    </Panel>
  );
});
