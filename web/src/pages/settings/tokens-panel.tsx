import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { Plus } from "lucide-react";
import { useMemo, useState } from "react";
import { mayAct, whoamiQuery } from "@/api/session";
import { revokeToken, tokensQuery, type TokenView } from "@/api/tokens";
import { formatAgo, formatTime, NONE, plural } from "@/lib/format";
import { flagCodec, sortCodec, useUrlState } from "@/lib/url-state";
import { Button } from "@/ui/button";
import { Confirm } from "@/ui/confirm";
import { Check } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import { type Column, DataTable } from "@/ui/table/data-table";
import { toast, toastError } from "@/ui/toasts";
import css from "./settings.module.css";
import { TokenDialog } from "./token-dialog";
import { type TokenState, tokenState } from "./token-rules";

interface Row {
  readonly token: TokenView;
  readonly state: TokenState;
  readonly isOwn: boolean;
  readonly now: number;
  revoke(token: TokenView): void;
}

const LOOKS: Readonly<Record<TokenState, string>> = {
  ready: "ready",
  expired: "stopped",
  revoked: "pruned",
  "used up": "stopped",
};
const column = createColumnHelper<Row>();
const COLUMNS: readonly Column<Row>[] = [
  column.accessor((row) => row.token.id, {
    id: "id",
    header: "Token",
    size: 168,
    cell: ({ row: { original: row } }) => (
      <span className="mono">
        {row.token.id}
        {row.isOwn && <span className="muted"> (yours)</span>}
      </span>
    ),
  }),
  column.accessor((row) => row.token.role, { id: "role", header: "Role", size: 80 }),
  column.accessor("state", {
    header: "State",
    size: 92,
    cell: ({ row: { original: row } }) => <StateBadge state={LOOKS[row.state]} text={row.state} />,
  }),
  column.accessor((row) => row.token.last_used_at ?? undefined, {
    id: "used",
    header: "Last used",
    size: 96,
    sortUndefined: "last",
    cell: ({ row: { original: row } }) =>
      row.token.last_used_at === null ? (
        <span className="muted">never</span>
      ) : (
        <span title={formatTime(row.token.last_used_at)}>{formatAgo(row.token.last_used_at, row.now)}</span>
      ),
  }),
  column.accessor((row) => row.token.created_at, {
    id: "created",
    header: "Made",
    size: 160,
    cell: (cell) => formatTime(cell.getValue()),
  }),
  column.accessor((row) => row.token.expires_at ?? undefined, {
    id: "expires",
    header: "Ends",
    size: 160,
    sortUndefined: "last",
    cell: (cell) => (cell.getValue() === undefined ? "when revoked" : formatTime(cell.getValue())),
  }),
  column.accessor((row) => row.token.uses_left ?? undefined, {
    id: "uses",
    header: "Joins left",
    size: 84,
    meta: { align: "right", hint: "How many machines may still join with it" },
    sortUndefined: "last",
    cell: (cell) => cell.getValue() ?? NONE,
  }),
  column.accessor((row) => row.token.client ?? undefined, {
    id: "client",
    header: "Only for",
    size: 104,
    sortUndefined: "last",
    cell: (cell) => cell.getValue() ?? NONE,
  }),
  column.display({
    id: "revoke",
    size: 90,
    cell: ({ row: { original: row } }) =>
      row.token.revoked_at === null && (
        <Button
          kind="ghost"
          className={css.revoke}
          aria-label={`Revoke ${row.token.id}`}
          onClick={() => row.revoke(row.token)}
        >
          Revoke
        </Button>
      ),
  }),
];
const PINNED = ["id"];

export function TokensPanel() {
  const { data: who } = useQuery(whoamiQuery);
  const isAdmin = mayAct(who, "admin");
  return isAdmin ? (
    <Tokens own={who?.token_id ?? ""} />
  ) : (
    <Panel title="Tokens">
      <Empty title="Only administrators see tokens">{`You are logged in as ${who?.role ?? "nobody"}.`}</Empty>
    </Panel>
  );
}

function Tokens({ own }: { own: string }) {
  const cache = useQueryClient();
  const { data, error, dataUpdatedAt } = useQuery(tokensQuery);
  const [sort, setSort] = useUrlState("tokens", sortCodec);
  const [withEnded, setWithEnded] = useUrlState("ended", flagCodec);
  const [isMaking, setMaking] = useState(false);
  const [ending, setEnding] = useState<TokenView | null>(null);
  const rows = useMemo(() => {
    const now = dataUpdatedAt / 1000;
    return (data ?? [])
      .map((token): Row => ({ token, state: tokenState(token, now), isOwn: token.id === own, now, revoke: setEnding }))
      .filter((row) => withEnded || row.state === "ready");
  }, [data, dataUpdatedAt, own, withEnded]);
  const revoke = (token: TokenView) =>
    revokeToken(token.id).then(
      ({ clients }) => {
        toast({
          title: `Token ${token.id} is revoked`,
          text: clients.length > 0 ? `Cut off: ${clients.join(", ")}` : undefined,
        });
        void cache.invalidateQueries({ queryKey: tokensQuery.queryKey });
      },
      (refused: unknown) => toastError(`Token ${token.id} could not be revoked`, refused),
    );
  return (
    <Panel
      title="Tokens"
      note={data && plural(rows.length, "token")}
      flush
      actions={
        <>
          <Check label="Ended ones too" checked={withEnded} onChange={setWithEnded} />
          <Button onClick={() => setMaking(true)}>
            <Plus size={14} aria-hidden />
            New token
          </Button>
        </>
      }
    >
      {error && !data && <ErrorNotice error={error} />}
      <DataTable
        label="Tokens"
        rows={rows}
        columns={COLUMNS}
        rowId={(row) => row.token.id}
        sort={sort}
        onSort={setSort}
        pinned={PINNED}
        maxHeight={420}
        empty={data && <Empty title="No tokens" />}
      />
      <TokenDialog open={isMaking} onClose={() => setMaking(false)} />
      <Confirm
        open={ending !== null}
        title={`Revoke token ${ending?.id}?`}
        action="Revoke"
        onClose={() => setEnding(null)}
        onConfirm={() => ending && void revoke(ending)}
      >
        <p>
          {ending?.role === "client"
            ? "Every client that joined with it is cut off now; what they train goes to others."
            : "Whoever uses it is logged out now, command lines and scripts too."}
        </p>
        {ending?.id === own && <p className={css.problem}>This is the token that you are logged in with.</p>}
      </Confirm>
    </Panel>
  );
}
