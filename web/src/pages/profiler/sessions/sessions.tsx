/** Sessions: the list, and what the chosen one is about. */
import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { useMemo, useState } from "react";
import { Link, useLocation } from "react-router";
import { sessionsQuery } from "@/api/profiler-sessions";
import { mayAct, whoamiQuery } from "@/api/session";
import { formatDuration, formatTime, NONE, plural } from "@/lib/format";
import { patched, sortCodec, textCodec, useUrlState } from "@/lib/url-state";
import { useNow } from "@/lib/use-now";
import { Button } from "@/ui/button";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import css from "../profiler.module.css";
import { intervalHint, intervalText, type SessionRow, sessionRows } from "./session-model";
import { SessionActions } from "./session-actions";
import { SessionPanel } from "./session-panel";
import { StartDialog } from "./start-dialog";

const NAME = textCodec<string>("");
const PINNED = ["name"];
const CLOCK_MS = 1_000;
const column = createColumnHelper<SessionRow>();
const COLUMNS: readonly Column<SessionRow>[] = [
  column.accessor("name", { header: "Name", size: 180, cell: (cell) => <SessionLink name={cell.getValue()} /> }),
  column.accessor("state", { header: "State", size: 100, cell: (cell) => <StateBadge state={cell.getValue()} /> }),
  column.accessor((one) => one.clients.length, {
    id: "clients",
    header: "Clients",
    size: 90,
    cell: ({ row }) => (row.original.clients.length > 0 ? row.original.clients.join(", ") : "all"),
  }),
  column.accessor("interval_s", {
    header: "Interval",
    size: 150,
    cell: ({ row }) => <span title={intervalHint(row.original)}>{intervalText(row.original)}</span>,
  }),
  column.accessor("started_at", { header: "Begun", size: 160, cell: (cell) => formatTime(cell.getValue()) }),
  column.accessor("length", {
    header: "Length",
    size: 110,
    meta: { align: "right" },
    cell: (cell) => formatDuration(cell.getValue()),
  }),
  column.accessor((one) => one.samples ?? undefined, {
    id: "samples",
    header: "Values",
    size: 100,
    sortUndefined: "last",
    meta: { align: "right", hint: "Counted when the session is looked at" },
    cell: (cell) => cell.getValue()?.toLocaleString("en") ?? NONE,
  }),
  column.display({ id: "do", header: "", size: 168, cell: ({ row }) => <SessionActions session={row.original} /> }),
];

export function Sessions() {
  const { data, error } = useQuery(sessionsQuery);
  const { data: who } = useQuery(whoamiQuery);
  const [name] = useUrlState("session", NAME);
  const [sort, setSort] = useUrlState("sort", sortCodec);
  const [starting, setStarting] = useState(false);
  const runs = data?.some((session) => session.stopped_at === null) ?? false;
  const now = useNow(runs ? CLOCK_MS : null);
  const rows = useMemo(() => sessionRows(data ?? [], now), [data, now]);
  const chosen = data?.find((session) => session.name === name);
  return (
    <div className={css.columns}>
      {error && !data && <ErrorNotice error={error} />}
      <Panel
        title="Sessions"
        flush
        note={data && plural(data.length, "session")}
        actions={
          <Button
            kind="primary"
            disabledReason={mayAct(who, "operator") ? null : "This needs an operator's token"}
            onClick={() => setStarting(true)}
          >
            Start a session
          </Button>
        }
      >
        <DataTable
          label="Sessions"
          rows={rows}
          columns={COLUMNS}
          rowId={(session) => session.name}
          sort={sort}
          onSort={setSort}
          pinned={PINNED}
          maxHeight={360}
          empty={
            data && (
              <Empty title="No sessions yet">
                Samples are kept without one, too. A session gives a range of time a name, and may sample faster.
              </Empty>
            )
          }
        />
      </Panel>
      {chosen && <SessionPanel session={chosen} />}
      {starting && <StartDialog taken={(data ?? []).map((one) => one.name)} onClose={() => setStarting(false)} />}
    </div>
  );
}

function SessionLink({ name }: { name: string }) {
  const { search } = useLocation();
  return <Link to={`?${patched(new URLSearchParams(search), { session: name })}`}>{name}</Link>;
}
