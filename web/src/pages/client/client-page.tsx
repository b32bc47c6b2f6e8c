/** One machine: what it trains, on what, and how that fares. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link, useParams } from "react-router";
import { clientQuery } from "@/api/client-ops";
import { devicesQuery, latestQuery } from "@/api/profiler";
import { Page } from "@/app/page";
import { CLIENT_METRICS, MACHINE, readingKey, readings } from "@/pages/clients/client-model";
import { stateLook, stateOf } from "@/pages/clients/columns";
import { ErrorNotice } from "@/ui/notice";
import { StateBadge } from "@/ui/state";
import { ClientActions } from "./client-actions";
import css from "./client.module.css";
import { DevicesPanel } from "./devices-panel";
import { AboutPanel, MachinePanel } from "./machine-panel";
import { ProcessesPanel } from "./processes-panel";
import { SlotsPanel } from "./slots-panel";

const TRAIL = [{ to: "/clients", label: "Clients" }];

export function Component() {
  const { client: name = "" } = useParams();
  const { data: client, error } = useQuery(clientQuery(name));
  const { data: devices = [] } = useQuery(devicesQuery);
  const { data: latest } = useQuery(latestQuery(CLIENT_METRICS));
  const own = useMemo(() => devices.filter((device) => device.client === name), [devices, name]);
  const values = useMemo(() => readings(latest), [latest]);
  return (
    <Page
      title={name}
      trail={TRAIL}
      note={client && <StateBadge state={stateLook({ client })} text={stateOf({ client })} />}
      actions={
        client && (
          <>
            <Link className={css.link} to={`/events?filter=${encodeURIComponent(`client=${name}`)}`}>
              Events
            </Link>
            <ClientActions client={client} />
          </>
        )
      }
    >
      {error && !client && <ErrorNotice error={error} />}
      {client && (
        <>
          <SlotsPanel client={client} />
          <div className={css.columns}>
            <AboutPanel client={client} />
            <MachinePanel reading={values.get(readingKey(name, MACHINE))} now={latest?.at ?? 0} />
          </div>
          <DevicesPanel client={name} devices={own} values={values} />
          <ProcessesPanel devices={own} />
        </>
      )}
    </Page>
  );
}
