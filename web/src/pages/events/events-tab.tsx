import { useEffect, useMemo } from "react";
import { plural } from "@/lib/format";
import { matches, parseFilter } from "@/lib/filter";
import { textCodec, useUrlState } from "@/lib/url-state";
import { useSettled } from "@/lib/use-settled";
import { Button } from "@/ui/button";
import { Input, Select } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { type EventGroup, fieldsOf, GROUPS, isOfGroup } from "./event-kinds";
import { EventList } from "./event-list";
import { mustReadOn, scopeOf } from "./event-log";
import css from "./events.module.css";
import { type EventLog, useEventLog } from "./use-event-log";

const FILTER = textCodec<string>("");
const GROUP = textCodec<EventGroup>(
  "all",
  GROUPS.map((group) => group.value),
);

const SETTLE_MS = 400;

/** Why nothing is in sight. */
function emptyText({ reach, hasOlder, isReading }: EventLog, isFiltered: boolean, isSearching: boolean): string {
  const back = reach === null ? "" : ` back to event ${reach.toLocaleString("en")}`;
  if (isSearching || isReading) return back ? `Nothing yet${back}, reading on` : "Reading the journal";
  if (!isFiltered) return "Nothing has happened";
  return hasOlder ? `No event matches${back}` : "No event matches";
}

/** What the host's journal says happened, live. */
export function EventsTab() {
  const [group, setGroup] = useUrlState("kind", GROUP);
  const [filter, setFilter] = useUrlState("filter", FILTER);
  const parsed = useMemo(() => parseFilter(filter), [filter]);
  const settled = useSettled(filter, SETTLE_MS);
  const scope = useMemo(() => scopeOf(parseFilter(settled), group), [settled, group]);
  const log = useEventLog(scope);
  const shown = useMemo(
    () => log.events.filter((event) => isOfGroup(event, group) && matches(parsed, fieldsOf(event))),
    [log.events, group, parsed],
  );
  const isFiltered = settled !== "" || group !== "all";
  const isSearching = mustReadOn({
    isFiltered,
    shown: shown.length,
    read: log.events.length,
    hasOlder: log.hasOlder,
    failed: log.error !== null,
  });
  const { isReading, readOlder } = log;
  useEffect(() => {
    if (isSearching && !isReading) readOlder();
  });
  return (
    <Panel
      title="Events"
      note={`${plural(shown.length, "event")}, the newest first`}
      flush
      actions={
        <>
          <Select label="Kind" value={group} choices={GROUPS} onChange={setGroup} />
          <Input
            type="search"
            className={css.filter}
            aria-label="Filter events"
            placeholder="Words, run=r1, client:a"
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
        </>
      }
    >
      {log.error && log.reach === null && <ErrorNotice error={log.error} />}
      {shown.length > 0 ? <EventList events={shown} /> : <Empty title={emptyText(log, isFiltered, isSearching)} />}
      <footer className={css.foot}>
        {log.hasOlder ? (
          <Button disabledReason={log.isReading ? "They are being read" : null} onClick={log.readOlder}>
            Read older ones
          </Button>
        ) : (
          <span className="muted">{log.isReading ? "" : "The host keeps no older events"}</span>
        )}
      </footer>
    </Panel>
  );
}
