import { useInfiniteQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { useMemo } from "react";
import { type AuditKind, auditQuery, type AuditView } from "@/api/audit";
import { formatTime, plural } from "@/lib/format";
import { matches, parseFilter } from "@/lib/filter";
import { sortCodec, textCodec, useUrlState } from "@/lib/url-state";
import { Button } from "@/ui/button";
import { Input, Segmented } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import css from "./events.module.css";

const KINDS: readonly { value: AuditKind; label: string }[] = [
  { value: "writes", label: "Changes" },
  { value: "refusals", label: "Refused callers" },
];
const KIND = textCodec<AuditKind>("writes", ["writes", "refusals"]);
const FILTER = textCodec<string>("");
const OUTCOMES: Readonly<Record<string, string>> = {
  done: "completed",
  repeated: "idle",
  refused: "warning",
  failed: "failed",
  unrecorded: "failed",
};
const column = createColumnHelper<AuditView>();
const COLUMNS: readonly Column<AuditView>[] = [
  column.accessor("at", { header: "When", size: 164, cell: (cell) => formatTime(cell.getValue()) }),
  column.accessor("who", { header: "Who", size: 150, cell: (cell) => <span className="mono">{cell.getValue()}</span> }),
  column.accessor("outcome", {
    header: "Outcome",
    size: 104,
    cell: ({ row: { original: one } }) => (
      <StateBadge state={OUTCOMES[one.outcome] ?? "info"} text={`${one.outcome} ${one.status}`} />
    ),
  }),
  column.accessor((one) => `${one.method} ${one.path}`, {
    id: "what",
    header: "What",
    size: 190,
    cell: (cell) => (
      <span className="mono" title={cell.getValue()}>
        {cell.getValue().replace("/api/v1", "")}
      </span>
    ),
  }),
  column.accessor("detail", {
    header: "Detail",
    size: 204,
    meta: { grow: true },
    cell: ({ row: { original: one } }) => (
      <span title={one.detail}>
        {one.detail}
        {one.unrecorded > 0 && (
          <span className="muted">{` ${plural(one.unrecorded, "record")} before it missing`}</span>
        )}
      </span>
    ),
  }),
  column.accessor("address", {
    header: "From",
    size: 104,
    meta: { hint: "Address of the other end of the connection: a proxy's, where one stands between" },
  }),
  column.accessor("via", { header: "With", size: 60, meta: { hint: "A token, or a login of this page" } }),
  column.accessor("number", { header: "No.", size: 52, meta: { align: "right" } }),
];
const PINNED = ["at"];

/** Who changed what, and who was not let in. */
export function AuditTab() {
  const [kind, setKind] = useUrlState("audit", KIND);
  const [filter, setFilter] = useUrlState("filter", FILTER);
  const [sort, setSort] = useUrlState("sort", sortCodec);
  const { data, error, hasNextPage, isFetchingNextPage, fetchNextPage } = useInfiniteQuery(auditQuery(kind));
  const parsed = useMemo(() => parseFilter(filter), [filter]);
  const records = useMemo(
    () => (data?.pages ?? []).flatMap((page) => page.items).filter((one) => matches(parsed, { ...one })),
    [data, parsed],
  );
  return (
    <Panel
      title="Audit log"
      note={data && `${plural(records.length, "record")}, the newest first`}
      flush
      actions={
        <>
          <Segmented label="Records of" value={kind} choices={KINDS} onChange={setKind} />
          <Input
            type="search"
            className={css.filter}
            aria-label="Filter the audit log"
            placeholder="Words, who:admin, status>=400"
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
        </>
      }
    >
      {error && !data && <ErrorNotice error={error} />}
      <DataTable
        label="Audit log"
        rows={records}
        columns={COLUMNS}
        rowId={(one) => String(one.number)}
        sort={sort}
        onSort={setSort}
        pinned={PINNED}
        empty={data && <Empty title={filter ? "No record matches" : "Nothing is recorded yet"} />}
      />
      <footer className={css.foot}>
        {hasNextPage ? (
          <Button
            disabledReason={isFetchingNextPage ? "They are being read" : null}
            onClick={() => void fetchNextPage()}
          >
            Read 200 older ones
          </Button>
        ) : (
          <span className="muted">{data && "No older records are kept"}</span>
        )}
      </footer>
    </Panel>
  );
}
