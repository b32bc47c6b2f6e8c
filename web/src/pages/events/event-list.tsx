import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useRef } from "react";
import { Link } from "react-router";
import { formatClock, formatTime } from "@/lib/format";
import type { HostEvent } from "@/live/dirty";
import { RunSwatch, StateBadge } from "@/ui/state";
import { isFailure, lookOf } from "./event-kinds";
import { dayHead } from "./event-log";
import css from "./events.module.css";

const ROW_PX = 32;
const OVERSCAN = 20;

/** Events, each a sentence; as many as are in sight. */
export function EventList({ events }: { events: readonly HostEvent[] }) {
  const box = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: events.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_PX,
    overscan: OVERSCAN,
    getItemKey: (index) => (events[index] as HostEvent).id,
  });
  return (
    <div ref={box} className={css.view} tabIndex={0} role="region" aria-label="Events, scrollable">
      <div className={css.space} style={{ height: virtual.getTotalSize() }} role="list">
        {virtual.getVirtualItems().map((item) => (
          <div
            key={item.key}
            ref={virtual.measureElement}
            data-index={item.index}
            className={css.slot}
            style={{ transform: `translateY(${item.start}px)` }}
            role="listitem"
            aria-setsize={events.length}
            aria-posinset={item.index + 1}
          >
            <DayHead event={events[item.index] as HostEvent} above={events[item.index - 1]} />
            <EventRow event={events[item.index] as HostEvent} />
          </div>
        ))}
      </div>
    </div>
  );
}

function DayHead({ event, above }: { event: HostEvent; above: HostEvent | undefined }) {
  const day = dayHead(event, above, Date.now() / 1000);
  return day && <h3 className={css.day}>{day}</h3>;
}

const EventRow = memo(function EventRow({ event }: { event: HostEvent }) {
  const look = lookOf(event.type);
  const { experiment, run, parent, client } = event.ids;
  const who = run ?? parent;
  return (
    <div className={css.row} data-event={event.id}>
      <time className={css.time} title={`${formatTime(event.at)}, event ${event.id}`}>
        {formatClock(event.at)}
      </time>
      <StateBadge state={isFailure(event) ? "failed" : look.sign} text={look.label} />
      <span className={css.text}>{event.text}</span>
      <span className={css.links}>
        {who && (
          <Link to={`/runs/${who}`} className={css.link}>
            <RunSwatch run={who} />
            {who}
          </Link>
        )}
        {experiment && <Link to={`/experiments/${experiment}`}>{experiment}</Link>}
        {client && <Link to={`/clients/${client}`}>{client}</Link>}
      </span>
    </div>
  );
});
