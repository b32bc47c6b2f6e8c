/** One experiment: its runs, their curves, what they are made of, and what can be done with them. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { useParams } from "react-router";
import type { RunView } from "@/api/runs";
import { type ExperimentView, experimentQuery, runListQuery } from "@/api/experiments";
import { Page } from "@/app/page";
import { OpsStrip } from "@/ops/ops-strip";
import { ErrorNotice } from "@/ui/notice";
import { Empty } from "@/ui/panel";
import { ChunkPanel } from "./chunk-panel";
import { ComparePanel } from "./compare-panel";
import { CurvePanels } from "./curve-panels";
import { ExperimentBadge } from "./experiment-badge";
import { Facts } from "./facts";
import { ExperimentOps } from "./experiment-ops";
import { ImportancePanel } from "./importance-panel";
import { ParallelPanel } from "./parallel-panel";
import { RunsPanel } from "./runs-panel";
import { alive, type RunFilter, useRunFilter } from "./use-run-filter";

const TRAIL = [{ to: "/experiments", label: "Experiments" }];

export function Component() {
  const { experiment: id = "" } = useParams();
  const { data: experiment, error } = useQuery(experimentQuery(id));
  if (!experiment) {
    return (
      error && (
        <Page title={id} trail={TRAIL}>
          <ErrorNotice error={error} />
        </Page>
      )
    );
  }
  return (
    <Page
      title={experiment.name}
      trail={TRAIL}
      note={<ExperimentBadge experiment={experiment} />}
      actions={<ExperimentOps experiment={experiment} />}
    >
      <Facts experiment={experiment} />
      {/* An address may name the experiment; everything below goes by its id. */}
      <Runs experiment={experiment} />
      <OpsStrip />
    </Page>
  );
}

/** Why no run is left of those that pass the filter, once deleted ones are left out. */
function nothingText(passing: readonly RunView[], view: RunFilter): string {
  return passing.length > 0 ? "These runs are deleted" : view.nothing;
}

function Runs({ experiment }: { experiment: ExperimentView }) {
  const { data, error } = useQuery(runListQuery(experiment.id));
  const runs = useMemo(() => (data ?? []).filter((run) => run.state !== "deleted"), [data]);
  const view = useRunFilter(runs);
  if (!data) return error && <ErrorNotice error={error} />;
  if (runs.length === 0) {
    return experiment.failure ? (
      <Empty title="The host rejected it">{experiment.failure.message}</Empty>
    ) : (
      <Empty title="No runs yet">A client checks model and data; runs appear once that is done.</Empty>
    );
  }
  return (
    <>
      <CurvePanels
        experiment={experiment}
        runs={alive(view.drawn)}
        nothing={nothingText(view.drawn, view)}
        view={view}
      />
      <RunsPanel experiment={experiment} view={view} total={runs.length} />
      {view.only.length > 1 && <ComparePanel experiment={experiment} runs={view.drawn} />}
      <ChunkPanel experiment={experiment} runs={alive(view.shown)} nothing={nothingText(view.shown, view)} />
      <ParallelPanel experiment={experiment} runs={runs} view={view} />
      <ImportancePanel experiment={experiment} />
    </>
  );
}
