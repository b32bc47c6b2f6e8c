import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { runListQuery } from "@/api/experiments";
import type { RunView } from "@/api/runs";
import { formatMetric, formatSetting, NONE } from "@/lib/format";
import { type Fact, Facts } from "@/ui/facts";
import { Panel } from "@/ui/panel";
import { RunSwatch, StateBadge } from "@/ui/state";
import css from "./run.module.css";

/** What it comes from, and what came from it. */
export function LineagePanel({ run }: { run: RunView }) {
  const { data: runs = [] } = useQuery(runListQuery(run.experiment));
  const parent = runs.find((one) => one.id === run.parent);
  const clones = runs.filter((one) => one.parent === run.id);
  const changes = Object.entries(run.changes);
  const facts: Fact[] = [
    ["Parent", run.parent ? <RunLine id={run.parent} run={parent} metric={run.best?.metric} /> : "none, of the search"],
    [
      "Began",
      run.start
        ? `warm, from the parent's step ${run.start.step}${run.first_step > 0 ? `, at its own step ${run.first_step}` : ""}`
        : "from the base model",
    ],
    [
      run.parent ? "Changed" : "Chosen",
      changes.length > 0 ? (
        <span className={css.changes}>
          {changes.map(([key, value]) => (
            <code key={key}>{`${key}=${formatSetting(value)}`}</code>
          ))}
        </span>
      ) : (
        "nothing"
      ),
    ],
    [
      "Clones",
      clones.length > 0 ? (
        <span className={css.stack}>
          {clones.map((clone) => (
            <RunLine key={clone.id} id={clone.id} run={clone} metric={run.best?.metric} />
          ))}
        </span>
      ) : (
        "none"
      ),
    ],
  ];
  return (
    <Panel title="Lineage">
      <Facts facts={facts} />
    </Panel>
  );
}

function RunLine({ id, run, metric }: { id: string; run: RunView | undefined; metric: string | undefined }) {
  return (
    <span className={css.runLine}>
      <RunSwatch run={id} />
      <Link to={`/runs/${id}`}>{id}</Link>
      {run && <StateBadge state={run.state} />}
      {run && <span className="muted">{metric ? `${metric} ${formatMetric(run.best?.value)}` : NONE}</span>}
    </span>
  );
}
