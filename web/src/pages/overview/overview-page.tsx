/** What the cluster does now. */
import { useQuery } from "@tanstack/react-query";
import { clientsQuery } from "@/api/cluster";
import { Page } from "@/app/page";
import { plural } from "@/lib/format";
import { ErrorNotice } from "@/ui/notice";
import { AlertsPanel } from "./alerts-panel";
import { ActivePanel } from "./active-panel";
import { EventsPanel } from "./events-panel";
import { HeatPanel } from "./heat-panel";
import css from "./overview.module.css";
import { QueuePanel } from "./queue-panel";
import { Stats } from "./stats";
import { WherePanel } from "./where-panel";

export function Component() {
  const { data: clients, error } = useQuery(clientsQuery);
  const ready = clients?.filter((client) => client.state === "ready").length;
  return (
    <Page title="Overview" note={ready !== undefined && `${plural(ready, "client")} ready`}>
      {error && !clients && <ErrorNotice error={error} />}
      <Stats />
      <div className={css.columns}>
        <div className={css.wide}>
          <HeatPanel />
          <WherePanel />
        </div>
        <div className={css.narrow}>
          <AlertsPanel />
          <ActivePanel />
          <QueuePanel />
          <EventsPanel />
        </div>
      </div>
    </Page>
  );
}
