/** Every machine that the host knows. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { clientsQuery } from "@/api/cluster";
import { devicesQuery, latestQuery } from "@/api/profiler";
import { Page } from "@/app/page";
import { plural } from "@/lib/format";
import { type Fields, matches, parseFilter } from "@/lib/filter";
import { sortCodec, textCodec, useUrlState } from "@/lib/url-state";
import { Input } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { DataTable } from "@/ui/table/data-table";
import { CLIENT_METRICS, type ClientRow, clientRows } from "./client-model";
import { COLUMNS, labelsOf, stateOf } from "./columns";
import css from "./clients.module.css";

const FILTER = textCodec<string>("");
const PINNED = ["name"];

export function Component() {
  const { data: clients, error } = useQuery(clientsQuery);
  const { data: devices } = useQuery(devicesQuery);
  const { data: latest } = useQuery(latestQuery(CLIENT_METRICS));
  const [filter, setFilter] = useUrlState("filter", FILTER);
  const [sort, setSort] = useUrlState("sort", sortCodec);
  const parsed = useMemo(() => parseFilter(filter), [filter]);
  const rows = useMemo(
    () => clientRows(clients ?? [], devices ?? [], latest).filter((row) => matches(parsed, fieldsOf(row))),
    [clients, devices, latest, parsed],
  );
  const ready = (clients ?? []).filter((client) => client.state === "ready").length;
  return (
    <Page title="Clients" note={clients && `${ready} of ${plural(clients.length, "client")} ready`}>
      {error && !clients && <ErrorNotice error={error} />}
      <Panel
        title="All clients"
        flush
        actions={
          <Input
            type="search"
            className={css.filter}
            aria-label="Filter clients"
            placeholder="Filter: name, state:ready, gpus>=4"
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
        }
      >
        <DataTable
          label="Clients"
          rows={rows}
          columns={COLUMNS}
          rowId={(row) => row.client.name}
          sort={sort}
          onSort={setSort}
          pinned={PINNED}
          empty={
            clients &&
            (clients.length === 0 ? (
              <Empty title="No client is here yet">
                Make a token with <code>gswarm token create --role client</code>, then{" "}
                <code>gswarm client connect</code> on a machine
              </Empty>
            ) : (
              <Empty title="No client matches the filter" />
            ))
          }
        />
      </Panel>
    </Page>
  );
}

function fieldsOf(row: ClientRow): Fields {
  return {
    name: row.client.name,
    state: stateOf(row),
    labels: labelsOf(row),
    version: row.client.version,
    runs: row.runs.join(" "),
    slots: row.client.slots.length,
    busy: row.busy,
    gpus: row.gpus,
    gpu: row.gpuUse,
    cpu: row.cpuUse,
    memory: row.memoryUse,
    outsiders: row.outsiders.join(" "),
  };
}
