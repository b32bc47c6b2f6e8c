import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { useMemo, useState } from "react";
import { Link } from "react-router";
import { poolManifestsQuery, type PoolManifestView } from "@/api/pool";
import { formatBytes, NONE, plural } from "@/lib/format";
import { matches, parseFilter } from "@/lib/filter";
import { sortCodec, textCodec, useUrlState } from "@/lib/url-state";
import { Button } from "@/ui/button";
import { Input, Segmented } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { RunSwatch, StateBadge } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import { FilesDialog } from "./files-dialog";
import { DIGEST_SHOWN, fieldsOf, placeOf } from "./pool-model";
import css from "./pool.module.css";

type Kind = "all" | PoolManifestView["kind"];
const KIND = textCodec<Kind>("all", ["all", "base", "data", "checkpoint", "export"]);
const KINDS: readonly { value: Kind; label: string }[] = [
  { value: "all", label: "All" },
  { value: "base", label: "Bases" },
  { value: "data", label: "Data" },
  { value: "checkpoint", label: "Checkpoints" },
  { value: "export", label: "Exports" },
];
const FILTER = textCodec<string>("");

interface Row {
  readonly item: PoolManifestView;
  open(item: PoolManifestView): void;
}

const column = createColumnHelper<Row>();
const COLUMNS: readonly Column<Row>[] = [
  column.accessor((row) => row.item.manifest, {
    id: "manifest",
    header: "Manifest",
    size: 130,
    cell: ({ row: { original: row } }) => (
      <Button kind="ghost" className={css.digest} title={row.item.manifest} onClick={() => row.open(row.item)}>
        {row.item.manifest.slice(0, DIGEST_SHOWN)}
      </Button>
    ),
  }),
  column.accessor((row) => row.item.kind, { id: "kind", header: "Kind", size: 96 }),
  column.accessor((row) => row.item.size_bytes ?? undefined, {
    id: "size",
    header: "Size",
    size: 84,
    meta: { align: "right" },
    sortUndefined: "last",
    cell: (cell) => formatBytes(cell.getValue()),
  }),
  column.accessor((row) => row.item.run ?? undefined, {
    id: "run",
    header: "Run",
    size: 130,
    sortUndefined: "last",
    cell: ({ row: { original: row } }) =>
      row.item.run ? (
        <Link to={`/runs/${row.item.run}`} className={css.run}>
          <RunSwatch run={row.item.run} />
          {row.item.run}
          {row.item.step !== null && <span className="muted">{`step ${row.item.step}`}</span>}
        </Link>
      ) : (
        <span className="muted">{plural(row.item.runs, "run")}</span>
      ),
  }),
  column.accessor((row) => row.item.experiments.join(", "), {
    id: "experiment",
    header: "Experiment",
    size: 110,
    cell: ({ row: { original: row } }) =>
      row.item.experiments.length > 0 ? (
        <Link to={`/experiments/${row.item.experiments[0]}`}>{row.item.experiments.join(", ")}</Link>
      ) : (
        NONE
      ),
  }),
  column.accessor((row) => placeOf(row.item), {
    id: "place",
    header: "Held by",
    size: 200,
    cell: ({ row: { original: row } }) => <Holders item={row.item} />,
  }),
];
const PINNED = ["manifest"];

function Holders({ item }: { item: PoolManifestView }) {
  switch (placeOf(item)) {
    case "host":
      return <StateBadge state="ready" text={item.holders.join(", ")} />;
    case "clients":
      return <StateBadge state="warning" text={`${item.holders.join(", ")}, not on the host`} />;
    case "unknown":
      return <span className="muted">not on the host</span>;
  }
}

/** Everything that the plan refers to. */
export function ManifestsPanel() {
  const { data, error } = useQuery(poolManifestsQuery);
  const [kind, setKind] = useUrlState("kind", KIND);
  const [filter, setFilter] = useUrlState("filter", FILTER);
  const [sort, setSort] = useUrlState("sort", sortCodec);
  const [opened, setOpened] = useState<PoolManifestView | null>(null);
  const parsed = useMemo(() => parseFilter(filter), [filter]);
  const rows = useMemo(
    () =>
      (data ?? [])
        .filter((item) => (kind === "all" || item.kind === kind) && matches(parsed, fieldsOf(item)))
        .map((item): Row => ({ item, open: setOpened })),
    [data, kind, parsed],
  );
  return (
    <Panel
      title="Manifests"
      note={data && plural(rows.length, "manifest")}
      flush
      actions={
        <>
          <Segmented label="Kind" value={kind} choices={KINDS} onChange={setKind} />
          <Input
            type="search"
            className={css.filter}
            aria-label="Filter manifests"
            placeholder="Filter: run=r1, holder:host"
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
        </>
      }
    >
      {error && !data && <ErrorNotice error={error} />}
      <DataTable
        label="Manifests"
        rows={rows}
        columns={COLUMNS}
        rowId={(row) => row.item.manifest}
        sort={sort}
        onSort={setSort}
        pinned={PINNED}
        maxHeight={560}
        empty={data && <Empty title={data.length === 0 ? "The pool is empty" : "No manifest matches"} />}
      />
      {opened && <FilesDialog item={opened} onClose={() => setOpened(null)} />}
    </Panel>
  );
}
