import { useQuery } from "@tanstack/react-query";
import { formatMoment } from "@/lib/format";
import { useRecentEvents } from "@/live/link";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { latestEventsQuery, newestOf, SHOWN_MAX } from "./latest-events";
import css from "./overview.module.css";

/** The newest events, also those of before the page was opened. */
export function EventsPanel() {
  const { data: earlier, error } = useQuery(latestEventsQuery);
  const events = newestOf(useRecentEvents(), earlier ?? []);
  return (
    <Panel title="Latest events" flush>
      {error && events.length === 0 && <ErrorNotice error={error} />}
      {events.length > 0 ? (
        <ul className={css.list}>
          {events.map((event) => (
            <li key={event.id}>
              <span>
                <span className="muted">{formatMoment(event.at)}</span> {event.text}
              </span>
            </li>
          ))}
        </ul>
      ) : (
        earlier && <Empty title={`Nothing has happened yet; the newest ${SHOWN_MAX} events come here`} />
      )}
    </Panel>
  );
}
