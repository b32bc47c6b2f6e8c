import { Link } from "react-router";
import { formatDuration, formatTime, NONE } from "@/lib/format";
import { Panel } from "@/ui/panel";
import { RunSwatch, StateBadge } from "@/ui/state";
import { PartList } from "./gantt-tip";
import { type Bar, partsOf, unheardS } from "./model";
import css from "./timeline.module.css";

const WORDS = { training: "training", trained: "done", failed: "failed", dropped: "pruned" } as const;

/** The chosen chunk, and the ways from it. */
export function ChunkPanel({ bar, now }: { bar: Bar; now: number }) {
  const end = bar.to ?? Math.max(now, bar.from);
  return (
    <Panel
      title={`Chunk of ${bar.run}`}
      actions={
        <nav className={css.links} aria-label="More about this chunk">
          <Link to={`/runs/${bar.run}`}>Run</Link>
          <Link to={`/experiments/${bar.experiment}?only=${bar.run}`}>Loss</Link>
          <Link to={`/logs?run=${bar.run}`}>Log</Link>
          <Link to={`/profiler?run=${bar.run}&range=${Math.floor(bar.from)}~${Math.ceil(Math.max(end, bar.from + 1))}`}>
            Sensors
          </Link>
        </nav>
      }
    >
      <dl className={css.facts}>
        <div>
          <dt>Run</dt>
          <dd className={css.tipHead}>
            <RunSwatch run={bar.run} />
            <Link to={`/runs/${bar.run}`}>{bar.run}</Link>
          </dd>
        </div>
        <div>
          <dt>Steps</dt>
          <dd>{`${bar.from_step.toLocaleString("en")} – ${bar.to_step.toLocaleString("en")}`}</dd>
        </div>
        <div>
          <dt>Slot</dt>
          <dd>
            <Link to={`/clients/${bar.slot.slice(0, bar.slot.lastIndexOf("/"))}`}>{bar.slot}</Link>
          </dd>
        </div>
        <div>
          <dt>State</dt>
          <dd>
            <StateBadge state={WORDS[bar.outcome]} text={bar.outcome} />
          </dd>
        </div>
        <div>
          <dt>Begun</dt>
          <dd>{formatTime(bar.from)}</dd>
        </div>
        <div>
          <dt>Took</dt>
          <dd>{formatDuration(end - bar.from)}</dd>
        </div>
        <div>
          <dt>Step time</dt>
          <dd>{bar.step_time_s === null ? NONE : formatDuration(bar.step_time_s)}</dd>
        </div>
        <div>
          <dt>Made of</dt>
          <dd>
            <PartList parts={partsOf(bar, bar.from, end, now)} unheardS={unheardS(bar)} />
          </dd>
        </div>
      </dl>
    </Panel>
  );
}
