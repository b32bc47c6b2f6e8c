/** What runs print, live. */
import { useMemo } from "react";
import { Page } from "@/app/page";
import { listCodec, useUrlState } from "@/lib/url-state";
import { ErrorNotice } from "@/ui/notice";
import { LogPanel } from "./log-panel";
import { NoRuns } from "./no-runs";
import { RunChooser, RUNS_MAX } from "./run-chooser";
import { useLogs } from "./use-logs";

export function Component() {
  const [wanted, setRuns] = useUrlState("run", listCodec, true);
  const runs = useMemo(() => wanted.slice(0, RUNS_MAX), [wanted]);
  const logs = useLogs(runs);
  return (
    <Page title="Logs" actions={<RunChooser runs={runs} states={logs.states} onChange={setRuns} />}>
      {wanted.length > RUNS_MAX && (
        <p className="muted">{`The address names ${wanted.length} runs; the first ${RUNS_MAX} are shown.`}</p>
      )}
      {runs.map((run) => {
        const error = logs.states[run]?.error;
        return error && <ErrorNotice key={run} error={error} />;
      })}
      {runs.length === 0 ? <NoRuns onOpen={(run) => setRuns([run])} /> : <LogPanel runs={runs} logs={logs} />}
    </Page>
  );
}
