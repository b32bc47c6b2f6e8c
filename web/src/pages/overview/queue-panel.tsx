import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { clientsQuery, queueQuery, waitingQuery, type WaitingView } from "@/api/cluster";
import { plural } from "@/lib/format";
import { useNow } from "@/lib/use-now";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { RunSwatch, StateBadge } from "@/ui/state";
import css from "./overview.module.css";
import { formatAge } from "./queue-model";
import { countsOf } from "./stats-model";

const SHOWN_MAX = 6;
const AHEAD_MAX = 3;
const CLOCK_MS = 5_000;

/** What waits: jobs for a client, then runs for a slot, those that have their grant already first. */
export function QueuePanel() {
  const { data: waiting, error } = useQuery(waitingQuery(SHOWN_MAX));
  const { data: clients = [] } = useQuery(clientsQuery);
  const { data: jobs = [] } = useQuery(queueQuery);
  const now = useNow(CLOCK_MS);
  const open = jobs.filter((job) => job.state === "queued" || job.state === "running");
  const { ahead } = countsOf(clients);
  const runs = waiting?.items ?? [];
  const more = (waiting?.total ?? 0) - runs.length;
  return (
    <Panel title="Queue" flush>
      {error && !waiting && <ErrorNotice error={error} />}
      {runs.length + open.length + ahead.length > 0 ? (
        <ul className={css.list}>
          {open.map((job) => (
            <li key={job.id}>
              <span className={css.line}>
                <StateBadge state={job.state} text={`${job.kind} ${job.run ?? job.experiment ?? ""}`} />
                <span className={`muted ${css.end}`}>{job.client ?? "waits for a client"}</span>
              </span>
            </li>
          ))}
          {ahead.slice(0, AHEAD_MAX).map(({ run, slot }) => (
            <li key={run}>
              <span className={css.waiting}>
                <span className={css.place}>next</span>
                <RunSwatch run={run} />
                <Link to={`/runs/${run}`}>{run}</Link>
                <span className={`muted ${css.end}`}>{`on ${slot}`}</span>
              </span>
            </li>
          ))}
          {ahead.length > AHEAD_MAX && (
            <li className="muted">{`and ${plural(ahead.length - AHEAD_MAX, "more is next on its slot", "more are next on their slots")}`}</li>
          )}
          {runs.map((run) => (
            <Waiting key={run.run} waiting={run} now={now} />
          ))}
          {more > 0 && <li className="muted">{`and ${more.toLocaleString("en")} more behind them`}</li>}
        </ul>
      ) : (
        waiting && <Empty title="Nothing waits" />
      )}
    </Panel>
  );
}

/** Behind whom it waits is said by its place; other reasons need a word. */
function Waiting({ waiting: { run, name, place, position, total_steps, since, code, text }, now }: WaitingProps) {
  const what = `${name}, step ${position} of ${total_steps}: ${text}`;
  return (
    <li title={what}>
      <span className={css.waiting}>
        <span className={css.place}>{place}</span>
        <RunSwatch run={run} />
        <Link to={`/runs/${run}`}>{run}</Link>
        <span className={`muted ${css.name}`}>{name !== run && name}</span>
        <span className={`muted ${css.end}`}>{formatAge(since, now)}</span>
      </span>
      {!PLAIN.has(code) && <span className="muted">{text}</span>}
    </li>
  );
}

const PLAIN: ReadonlySet<string> = new Set(["turn", "next"]);

interface WaitingProps {
  waiting: WaitingView;
  now: number;
}
