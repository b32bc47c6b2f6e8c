import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { explainEveryMs, explainQuery, type RunView } from "@/api/runs";
import { formatDuration, formatMetric, formatNumber, formatTime, NONE } from "@/lib/format";
import { runColorCss } from "@/lib/run-color";
import { type Fact, Facts } from "@/ui/facts";
import { Panel } from "@/ui/panel";
import { Progress, StateBadge } from "@/ui/state";
import css from "./run.module.css";

const ENDED = ["completed", "failed", "pruned", "deleted"];

/** Where the run is, and why it is there. */
export function NowPanel({ run }: { run: RunView }) {
  const isOver = ENDED.includes(run.state);
  const { data: why } = useQuery({ ...explainQuery(run.id), refetchInterval: isOver ? false : explainEveryMs(run) });
  const share = run.current_step / Math.max(1, run.total_steps);
  return (
    <Panel title="Now" note={<StateBadge state={run.state} />}>
      <div className={css.now}>
        <p data-testid="explain">{why?.text ?? ""}</p>
        <div className={css.progress}>
          <Progress share={share} label={`Progress of ${run.id}`} color={runColorCss(run.id)} />
          <span>{`step ${run.current_step.toLocaleString("en")} of ${run.total_steps.toLocaleString("en")}`}</span>
        </div>
        <Facts facts={nowFacts(run, isOver)} />
      </div>
    </Panel>
  );
}

/** Where it is, or was last. */
function slotLabel(run: RunView): string {
  if (run.slot) return "Trains on";
  return run.home ? "Last on" : "Slot";
}

function nowFacts(run: RunView, isOver: boolean): Fact[] {
  const at = run.slot ?? run.home;
  const client = at?.split("/").slice(0, -1).join("/");
  return [
    [
      slotLabel(run),
      at ? (
        <>
          {at}
          {client && (
            <>
              {" of "}
              <Link to={`/clients/${client}`} className={css.inText}>
                {client}
              </Link>
            </>
          )}
        </>
      ) : isOver || run.generation > 0 ? (
        "no slot holds it"
      ) : (
        "no slot yet"
      ),
    ],
    [
      "Committed",
      `${run.position.toLocaleString("en")} steps, ${run.chunks_done.toLocaleString("en")} of ${run.chunks_total.toLocaleString("en")} chunks`,
    ],
    ["Epoch", formatNumber(run.epoch)],
    ["Step time", formatDuration(run.step_time_s)],
    ...(isOver ? [] : ([["Training left", formatDuration(run.eta_s)]] as Fact[])),
    [
      "Best",
      run.best
        ? `${run.best.metric} ${formatMetric(run.best.value)} at step ${run.best.step.toLocaleString("en")}`
        : NONE,
    ],
    ["Submitted", formatTime(run.created_at)],
    ...(run.ended_at === null ? [] : ([["Ended", formatTime(run.ended_at)]] as Fact[])),
    ["Grants", `${run.generation.toLocaleString("en")} given so far, ${run.grants.length} open`],
  ];
}
