import { useQuery, useQueryClient } from "@tanstack/react-query";
import { BadgeCheck, PackageOpen } from "lucide-react";
import { useState } from "react";
import { type JobView, queueQuery } from "@/api/cluster";
import { verifyRun } from "@/api/run-jobs";
import type { RunView } from "@/api/runs";
import { mayAct, whoamiQuery } from "@/api/session";
import { formatTime } from "@/lib/format";
import { FilesDialog } from "@/pages/pool/files-dialog";
import { Button } from "@/ui/button";
import { Facts } from "@/ui/facts";
import { Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import { toast, toastError } from "@/ui/toasts";
import { ExportDialog } from "./export-dialog";
import css from "./run.module.css";
import { verdictOf } from "./verification";

/** Proof that the run is what uninterrupted training would have made, and its files for use elsewhere. */
export function ProofPanel({ run }: { run: RunView }) {
  const cache = useQueryClient();
  const { data: who } = useQuery(whoamiQuery);
  const { data: jobs = [] } = useQuery(queueQuery);
  const [isExporting, setExporting] = useState(false);
  const own = jobs.filter((job) => job.run === run.id && (job.kind === "verify" || job.kind === "export"));
  const isVerifying = own.some((job) => job.kind === "verify" && (job.state === "queued" || job.state === "running"));
  const reason = !mayAct(who, "operator")
    ? "Your token may only look; an operator's may do this"
    : run.checkpoints === 0
      ? "It has no checkpoint yet: wait for its first chunk"
      : null;
  const verify = () =>
    verifyRun(run.id).then(
      () => {
        toast({ title: `${run.id} is being verified`, text: "It is trained again without interruption." });
        void cache.invalidateQueries({ queryKey: queueQuery.queryKey });
      },
      (error: unknown) => toastError(`${run.id} cannot be verified`, error),
    );
  return (
    <Panel
      title="Proof and export"
      actions={
        <>
          <Button
            disabledReason={reason ?? (isVerifying ? "It is being verified" : null)}
            hint="Trains it again without interruption and compares the weights"
            onClick={() => void verify()}
          >
            <BadgeCheck size={14} aria-hidden />
            Verify
          </Button>
          <Button disabledReason={reason} onClick={() => setExporting(true)}>
            <PackageOpen size={14} aria-hidden />
            Export…
          </Button>
        </>
      }
    >
      <div className={css.stack}>
        <Verification result={run.verification} />
        {own.map((job) => (
          <JobLine key={job.id} job={job} />
        ))}
      </div>
      {isExporting && <ExportDialog run={run} onClose={() => setExporting(false)} />}
    </Panel>
  );
}

function Verification({ result }: { result: RunView["verification"] }) {
  if (!result) return <p className="muted">Not verified yet.</p>;
  const verdict = verdictOf(result);
  return (
    <div className={css.verdict} data-identical={verdict.isIdentical}>
      <StateBadge state={verdict.isIdentical ? "completed" : "failed"} text={verdict.title} />
      <Facts facts={verdict.lines} />
      {!verdict.isIdentical && (
        <p className="muted">Only devices with deterministic kernels repeat every bit; compare the difference.</p>
      )}
    </div>
  );
}

function JobLine({ job }: { job: JobView }) {
  const [isOpen, setOpen] = useState(false);
  const manifest = typeof job.result?.manifest === "string" ? job.result.manifest : null;
  const format = typeof job.request.format === "string" ? `${job.request.format} ` : "";
  const step = typeof job.request.step === "number" ? `of step ${job.request.step}` : "";
  return (
    <div className={css.job}>
      <StateBadge state={job.state} text={`${job.kind} ${format}${step}: ${job.state}`} />
      <span className="muted">{`${formatTime(job.requested_at)}${job.client ? ` on ${job.client}` : ""}`}</span>
      {manifest && (
        <Button kind="ghost" className={css.small} onClick={() => setOpen(true)}>
          Files
        </Button>
      )}
      {job.failure && <span className={css.problem}>{job.failure.message}</span>}
      {isOpen && manifest && <FilesDialog item={{ manifest, kind: "export" }} onClose={() => setOpen(false)} />}
    </div>
  );
}
