import { formatClock } from "@/lib/format";
import { useRecentEvents } from "@/live/link";
import { Empty, Panel } from "@/ui/panel";
import css from "./overview.module.css";

const SHOWN_MAX = 8;

/** What happened since the page was opened. */
export function EventsPanel() {
  const events = useRecentEvents();
  return (
    <Panel title="Latest events" flush>
      {events.length > 0 ? (
        <ul className={css.list}>
          {events.slice(0, SHOWN_MAX).map((event) => (
            <li key={event.id}>
              <span>
                <span className="muted">{formatClock(event.at)}</span> {event.text}
              </span>
            </li>
          ))}
        </ul>
      ) : (
        <Empty title="Nothing has happened since this page was opened" />
      )}
    </Panel>
  );
}
