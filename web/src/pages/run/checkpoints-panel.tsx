import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { useMemo, useState } from "react";
import { type CheckpointView, checkpointsQuery, type RunView } from "@/api/runs";
import { mayAct, whoamiQuery } from "@/api/session";
import { formatBytes, formatMetric, plural } from "@/lib/format";
import { sortCodec, useUrlState } from "@/lib/url-state";
import { allowed } from "@/ops/allowed";
import { CloneDialog } from "@/ops/clone-dialog";
import { FilesDialog } from "@/pages/pool/files-dialog";
import { DIGEST_SHOWN } from "@/pages/pool/pool-model";
import { Button } from "@/ui/button";
import { Empty, Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import css from "./run.module.css";

interface Row {
  readonly checkpoint: CheckpointView;
  /** Why no clone may start from it. */
  readonly reason: string | null;
  open(checkpoint: CheckpointView): void;
  clone(checkpoint: CheckpointView): void;
}

const column = createColumnHelper<Row>();
const FIXED: readonly Column<Row>[] = [
  column.accessor((row) => row.checkpoint.step, {
    id: "step",
    header: "Step",
    size: 70,
    meta: { align: "right" },
    cell: (cell) => (cell.getValue() as number).toLocaleString("en"),
  }),
  column.accessor((row) => wordsOf(row.checkpoint), {
    id: "kept",
    header: "Kept as",
    size: 110,
    cell: (cell) => <StateBadge state="completed" text={cell.getValue()} />,
  }),
];
const LAST: readonly Column<Row>[] = [
  column.accessor((row) => row.checkpoint.size_bytes, {
    id: "size",
    header: "Size",
    size: 80,
    meta: { align: "right" },
    cell: (cell) => formatBytes(cell.getValue()),
  }),
  column.accessor((row) => row.checkpoint.holders.join(", "), { id: "holders", header: "Held by", size: 150 }),
  column.accessor((row) => row.checkpoint.manifest, {
    id: "manifest",
    header: "Manifest",
    size: 120,
    cell: ({ row: { original: row } }) => (
      <Button
        kind="ghost"
        className={css.digest}
        title={row.checkpoint.manifest}
        onClick={() => row.open(row.checkpoint)}
      >
        {row.checkpoint.manifest.slice(0, DIGEST_SHOWN)}
      </Button>
    ),
  }),
  column.display({
    id: "clone",
    size: 120,
    cell: ({ row: { original: row } }) => (
      <Button
        kind="ghost"
        className={css.small}
        disabledReason={row.reason}
        aria-label={`Clone from here, step ${row.checkpoint.step}`}
        onClick={() => row.clone(row.checkpoint)}
      >
        Clone from here
      </Button>
    ),
  }),
];
const PINNED = ["step"];

function wordsOf(checkpoint: CheckpointView): string {
  const words = [checkpoint.best && "best", checkpoint.latest && "latest"].filter(Boolean);
  return words.length > 0 ? words.join(", ") : "kept";
}

/** What it can go on from, or another run can start from. */
export function CheckpointsPanel({ run }: { run: RunView }) {
  const { data } = useQuery(checkpointsQuery(run.id));
  const { data: who } = useQuery(whoamiQuery);
  const [sort, setSort] = useUrlState("checkpoints", sortCodec);
  const [opened, setOpened] = useState<CheckpointView | null>(null);
  const [from, setFrom] = useState<CheckpointView | null>(null);
  const { reason } = allowed("clone", [run], mayAct(who, "operator"));
  const rows = useMemo(
    () => (data ?? []).map((checkpoint): Row => ({ checkpoint, reason, open: setOpened, clone: setFrom })).reverse(),
    [data, reason],
  );
  const metrics = [...new Set((data ?? []).flatMap((one) => Object.keys(one.metrics)))].join(",");
  const columns = useMemo(
    () => [...FIXED, ...(metrics ? metrics.split(",") : []).map(metricColumn), ...LAST],
    [metrics],
  );
  const bytes = (data ?? []).reduce((sum, one) => sum + one.size_bytes, 0);
  return (
    <Panel
      title="Checkpoints"
      note={data && data.length > 0 && `${plural(data.length, "checkpoint")}, ${formatBytes(bytes)}`}
      flush
    >
      <DataTable
        label="Checkpoints"
        rows={rows}
        columns={columns}
        rowId={(row) => String(row.checkpoint.step)}
        sort={sort}
        onSort={setSort}
        pinned={PINNED}
        maxHeight={300}
        empty={data && <Empty title="No checkpoint yet">Its first chunk ends with one</Empty>}
      />
      {opened && (
        <FilesDialog item={{ manifest: opened.manifest, kind: "checkpoint" }} onClose={() => setOpened(null)} />
      )}
      {from && <CloneDialog parents={[run]} from={String(from.step)} onClose={() => setFrom(null)} />}
    </Panel>
  );
}

function metricColumn(name: string): Column<Row> {
  return column.accessor((row) => row.checkpoint.metrics[name], {
    id: `metric ${name}`,
    header: name,
    size: 96,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatMetric(cell.getValue()),
  });
}
