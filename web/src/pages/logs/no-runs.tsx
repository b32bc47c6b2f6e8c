import { useQuery } from "@tanstack/react-query";
import { recentRunsQuery } from "@/api/run-list";
import { Button } from "@/ui/button";
import { Empty, Panel } from "@/ui/panel";
import { RunSwatch, StateBadge } from "@/ui/state";
import css from "./logs.module.css";

const SHOWN_MAX = 30;
const FIRST = ["running", "failed", "stopping", "queued"];

/** What to begin with: runs that train and runs that failed stand first. */
export function NoRuns({ onOpen }: { onOpen(run: string): void }) {
  const { data } = useQuery(recentRunsQuery);
  const rank = (state: string) => (FIRST.includes(state) ? FIRST.indexOf(state) : FIRST.length);
  const runs = (data ?? []).toSorted((a, b) => rank(a.state) - rank(b.state));
  return (
    <Panel title="Choose a run" flush>
      {runs.length > 0 ? (
        <ul className={css.choices}>
          {runs.slice(0, SHOWN_MAX).map((run) => (
            <li key={run.id}>
              <Button kind="ghost" onClick={() => onOpen(run.id)}>
                <RunSwatch run={run.id} />
                {run.id}
                <span className="muted">{run.name}</span>
                <StateBadge state={run.state} />
              </Button>
            </li>
          ))}
        </ul>
      ) : (
        data && <Empty title="There are no runs yet" />
      )}
    </Panel>
  );
}
