import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { queueQuery } from "@/api/cluster";
import { runsInStateQuery } from "@/api/runs";
import { Empty, Panel } from "@/ui/panel";
import { RunSwatch, StateBadge } from "@/ui/state";
import css from "./overview.module.css";

const SHOWN_MAX = 6;
const COUNTED_MAX = 1000;

/** What waits: runs for a slot, jobs for a client. */
export function QueuePanel() {
  const { data: runs = [] } = useQuery(runsInStateQuery("queued", COUNTED_MAX));
  const { data: jobs = [] } = useQuery(queueQuery);
  const open = jobs.filter((job) => job.state === "queued" || job.state === "running");
  const more = runs.length - SHOWN_MAX;
  return (
    <Panel title="Queue" flush>
      {runs.length + open.length > 0 ? (
        <ul className={css.list}>
          {open.map((job) => (
            <li key={job.id}>
              <span className={css.line}>
                <StateBadge state={job.state} text={`${job.kind} ${job.run ?? job.experiment ?? ""}`} />
                <span className={`muted ${css.end}`}>{job.client ?? "waits for a client"}</span>
              </span>
            </li>
          ))}
          {runs.slice(0, SHOWN_MAX).map((run) => (
            <li key={run.id}>
              <span className={css.line}>
                <RunSwatch run={run.id} />
                <Link to={`/runs/${run.id}`}>{run.id}</Link>
                <span className="muted">{run.name}</span>
                <span className={`muted ${css.end}`}>{`step ${run.position} / ${run.total_steps}`}</span>
              </span>
            </li>
          ))}
          {more > 0 && (
            <li className="muted">{`and ${more}${runs.length === COUNTED_MAX ? " or more" : ""} other runs wait for a slot`}</li>
          )}
        </ul>
      ) : (
        <Empty title="Nothing waits" />
      )}
    </Panel>
  );
}
