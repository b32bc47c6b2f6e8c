/** All experiments, the newest first. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { type ExperimentView, experimentsQuery } from "@/api/experiments";
import { Page } from "@/app/page";
import { plural } from "@/lib/format";
import { matches, parseFilter } from "@/lib/filter";
import { sortCodec, textCodec, useUrlState } from "@/lib/url-state";
import { Input } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { DataTable } from "@/ui/table/data-table";
import { OpsStrip } from "@/ops/ops-strip";
import { standOf } from "@/pages/experiment/experiment-state";
import { COLUMNS } from "./columns";
import { DeletedPanel } from "./deleted-panel";

const FILTER = textCodec<string>("");

export function Component() {
  const { data, error } = useQuery(experimentsQuery);
  const [filter, setFilter] = useUrlState("filter", FILTER);
  const [sort, setSort] = useUrlState("sort", sortCodec);
  const parsed = useMemo(() => parseFilter(filter), [filter]);
  const shown = useMemo(() => (data ?? []).filter((one) => matches(parsed, fieldsOf(one))), [data, parsed]);
  return (
    <Page title="Experiments" note={data && plural(data.length, "experiment")}>
      {error && !data && <ErrorNotice error={error} />}
      <Panel
        title="All experiments"
        flush
        actions={
          <Input
            type="search"
            aria-label="Filter experiments"
            placeholder="Filter: name, state:active"
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
        }
      >
        <DataTable
          label="Experiments"
          rows={shown}
          columns={COLUMNS}
          rowId={(one) => one.id}
          sort={sort}
          onSort={setSort}
          pinned={PINNED}
          empty={
            data &&
            (data.length === 0 ? (
              <Empty title="No experiments yet">
                Submit one with <code>gswarm experiment submit FILE</code>
              </Empty>
            ) : (
              <Empty title="No experiment matches the filter" />
            ))
          }
        />
      </Panel>
      <DeletedPanel />
      <OpsStrip />
    </Page>
  );
}

const PINNED = ["name"];

function fieldsOf(one: ExperimentView): Record<string, string | number | null> {
  return {
    id: one.id,
    name: one.name,
    state: standOf(one).text,
    runs: one.runs,
    best: one.best?.value ?? null,
    metric: one.metric.name,
  };
}
