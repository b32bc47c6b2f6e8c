import { formatMoment, formatDuration } from "@/lib/format";
import { RunSwatch } from "@/ui/state";
import { type Bar, partsOf, unheardS } from "./model";
import css from "./timeline.module.css";

interface GanttTipProps {
  bar: Bar;
  x: number;
  y: number;
  width: number;
  now: number;
}

/** What is under the pointer. */
export function GanttTip({ bar, x, y, width, now }: GanttTipProps) {
  const end = bar.to ?? Math.max(now, bar.from);
  const parts = partsOf(bar, bar.from, end, now);
  return (
    <div
      className={css.tip}
      style={{ top: y + 16, ...(x > width / 2 ? { right: width - x } : { left: x }) }}
      aria-hidden
    >
      <strong className={css.tipHead}>
        <RunSwatch run={bar.run} />
        {bar.run}, steps {bar.from_step}–{bar.to_step}
      </strong>
      <span className="muted">
        {formatMoment(bar.from)} – {bar.to === null ? "now" : formatMoment(bar.to)}, {formatDuration(end - bar.from)}
      </span>
      <PartList parts={parts} unheardS={unheardS(bar)} />
      {bar.outcome !== "trained" && <span>{bar.outcome}</span>}
    </div>
  );
}

interface PartListProps {
  parts: ReturnType<typeof partsOf>;
  /** Idle seconds until the host heard of the end. */
  unheardS: number;
}

export function PartList({ parts, unheardS }: PartListProps) {
  return (
    <dl className={css.parts}>
      {parts.setup > 0 && <Part name="Set-up" seconds={parts.setup} />}
      {parts.train > 0 && <Part name="Training" seconds={parts.train} />}
      {parts.evaluate > 0 && <Part name="Evaluation" seconds={parts.evaluate} />}
      {unheardS > 0 && <Part name="Idle, the host was away" seconds={unheardS} />}
      {parts.other > 0 && <Part name="Not known" seconds={parts.other} />}
    </dl>
  );
}

function Part({ name, seconds }: { name: string; seconds: number }) {
  return (
    <>
      <dt className="muted">{name}</dt>
      <dd>{formatDuration(seconds)}</dd>
    </>
  );
}
