/** One run: where it is and why, what it measured, what it keeps, and what can be done with it. */
import { useQuery } from "@tanstack/react-query";
import { Activity, ScrollText } from "lucide-react";
import { Link, Navigate, useLocation, useParams } from "react-router";
import { experimentQuery } from "@/api/experiments";
import { runQuery, type RunView } from "@/api/runs";
import { Page } from "@/app/page";
import { OpsBar } from "@/ops/ops-bar";
import { OpsStrip } from "@/ops/ops-strip";
import { ErrorNotice } from "@/ui/notice";
import { RunSwatch, StateBadge } from "@/ui/state";
import { CheckpointsPanel } from "./checkpoints-panel";
import { ChunksPanel } from "./chunks-panel";
import { CurvesPanel } from "./curves-panel";
import { FailurePanel } from "./failure-panel";
import { LineagePanel } from "./lineage-panel";
import { NowPanel } from "./now-panel";
import { ProofPanel } from "./proof-panel";
import css from "./run.module.css";
import { runRangeText } from "./run-range";
import { SpecPanel } from "./spec-panel";

const LIVE_MS = 5000;

export function Component() {
  const { run: id = "" } = useParams();
  const { search } = useLocation();
  const { data: run, error } = useQuery({
    ...runQuery(id),
    refetchInterval: ({ state }) => (state.data?.slot ? LIVE_MS : false),
  });
  if (!run) {
    return (
      error && (
        <Page title={id}>
          <ErrorNotice error={error} />
        </Page>
      )
    );
  }
  // An address may name the run; what is live goes by its id.
  return run.id === id ? <Run run={run} /> : <Navigate to={{ pathname: `/runs/${run.id}`, search }} replace />;
}

function Run({ run }: { run: RunView }) {
  const { data: experiment } = useQuery(experimentQuery(run.experiment));
  return (
    <Page
      title={run.id}
      trail={[
        { to: "/experiments", label: "Experiments" },
        { to: `/experiments/${run.experiment}`, label: experiment?.name ?? run.experiment },
      ]}
      note={
        <span className={css.note}>
          <RunSwatch run={run.id} />
          <StateBadge state={run.state} />
          <span className={css.name}>{run.name}</span>
        </span>
      }
      actions={
        <div className={css.actions}>
          <Link to={`/logs?run=${run.id}`} className={css.link}>
            <ScrollText size={14} aria-hidden />
            Log
          </Link>
          <Link to={`/profiler?run=${run.id}&range=${runRangeText(run)}`} className={css.link}>
            <Activity size={14} aria-hidden />
            Profiler
          </Link>
          <Link to={`/events?filter=${encodeURIComponent(`run=${run.id}`)}`} className={css.link}>
            Events
          </Link>
          <OpsBar runs={[run]} />
        </div>
      }
    >
      {run.failure && <FailurePanel run={run} failure={run.failure} />}
      <div className={css.columns}>
        <NowPanel run={run} />
        <LineagePanel run={run} />
        <ProofPanel run={run} />
      </div>
      <CurvesPanel run={run} />
      <CheckpointsPanel run={run} />
      <ChunksPanel run={run} />
      <SpecPanel run={run} />
      <OpsStrip />
    </Page>
  );
}
