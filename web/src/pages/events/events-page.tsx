/** What happens, and who changed what. */
import { useQuery } from "@tanstack/react-query";
import { mayAct, whoamiQuery } from "@/api/session";
import { Page } from "@/app/page";
import { textCodec, useUrlState } from "@/lib/url-state";
import { Segmented } from "@/ui/field";
import { Empty, Panel } from "@/ui/panel";
import { AuditTab } from "./audit-tab";
import { EventsTab } from "./events-tab";

type Tab = "events" | "audit";
const TAB = textCodec<Tab>("events", ["events", "audit"]);
const TABS: readonly { value: Tab; label: string }[] = [
  { value: "events", label: "Events" },
  { value: "audit", label: "Audit log" },
];

export function Component() {
  const [tab, setTab] = useUrlState("tab", TAB, true);
  const { data: who } = useQuery(whoamiQuery);
  return (
    <Page title="Events" actions={<Segmented label="Show" value={tab} choices={TABS} onChange={setTab} />}>
      {tab === "events" ? (
        <EventsTab />
      ) : mayAct(who, "admin") ? (
        <AuditTab />
      ) : (
        <Panel title="Audit log">
          <Empty title="Only administrators see the audit log">{`You are logged in as ${who?.role ?? "nobody"}.`}</Empty>
        </Panel>
      )}
    </Page>
  );
}
