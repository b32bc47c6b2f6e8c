import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { useMemo } from "react";
import { Link } from "react-router";
import { clientsQuery } from "@/api/cluster";
import { runsInStateQuery } from "@/api/runs";
import { formatDuration, formatMetric, NONE } from "@/lib/format";
import { runColorCss } from "@/lib/run-color";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { Empty, Panel } from "@/ui/panel";
import { Progress, RunSwatch } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import css from "./overview.module.css";
import { type Placement, placements } from "./placements";

const RUNS_MAX = 1000;
const column = createColumnHelper<Placement>();
const COLUMNS: readonly Column<Placement>[] = [
  column.accessor("slot", { header: "Slot", size: 110 }),
  column.accessor((one) => one.run, {
    id: "run",
    header: "Run",
    size: 90,
    sortUndefined: "last",
    cell: ({ row: { original: one } }) =>
      one.run ? (
        <span className={css.runCell}>
          <RunSwatch run={one.run} />
          <Link to={`/runs/${one.run}`}>{one.run}</Link>
        </span>
      ) : (
        <span className="muted">idle</span>
      ),
  }),
  column.accessor("share", {
    header: "Progress",
    size: 200,
    meta: { grow: true },
    sortUndefined: "last",
    cell: ({ row: { original: one } }) =>
      one.view ? (
        <span className={css.progressCell}>
          <Progress share={one.share ?? 0} label={`Progress of ${one.run}`} color={runColorCss(one.view.id)} />
          <span className="muted">{`${one.view.current_step} / ${one.view.total_steps}`}</span>
        </span>
      ) : (
        <span className="muted">{one.explanation}</span>
      ),
  }),
  column.accessor((one) => one.view?.metrics.loss, {
    id: "loss",
    header: "Loss",
    size: 80,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatMetric(cell.getValue()),
  }),
  column.accessor((one) => one.view?.step_time_s ?? undefined, {
    id: "step",
    header: "Step time",
    size: 90,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatDuration(cell.getValue()),
  }),
  column.accessor((one) => one.next ?? undefined, {
    id: "next",
    header: "Next",
    size: 80,
    sortUndefined: "last",
    meta: { hint: "The run that this slot trains after this chunk" },
    cell: ({ getValue }) => getValue() ?? NONE,
  }),
];

/** Which slot trains which run. */
export function WherePanel() {
  const { data: clients } = useQuery(clientsQuery);
  const { data: running } = useQuery(runsInStateQuery("running", RUNS_MAX));
  const [sort, setSort] = useUrlState("where", sortCodec);
  const rows = useMemo(() => placements(clients ?? [], running ?? []), [clients, running]);
  return (
    <Panel title="What runs where" flush>
      <DataTable
        label="What runs where"
        rows={rows}
        columns={COLUMNS}
        rowId={(one) => one.slot}
        sort={sort}
        onSort={setSort}
        pinned={PINNED}
        maxHeight={420}
        empty={clients && <Empty title="No slots" />}
      />
    </Panel>
  );
}

const PINNED = ["slot"];
