import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { checkpointsQuery, type RunView } from "@/api/runs";
import { mayAct, whoamiQuery } from "@/api/session";
import { formatBytes, formatMetric } from "@/lib/format";
import { allowed } from "@/ops/allowed";
import { CloneDialog } from "@/ops/clone-dialog";
import { Button } from "@/ui/button";
import css from "./experiment.module.css";

/** The checkpoints on the one curve that is shown: a clone may start warm from each of them. */
export function StartPoints({ run }: { run: RunView }) {
  const { data: checkpoints = [] } = useQuery(checkpointsQuery(run.id));
  const { data: who } = useQuery(whoamiQuery);
  const [from, setFrom] = useState<string | null>(null);
  const { reason } = allowed("clone", [run], mayAct(who, "operator"));
  return (
    <div className={css.starts}>
      <span className="muted">{`Checkpoints of ${run.id}, to start a clone from:`}</span>
      {checkpoints.length === 0 && <span className="muted">none yet, the first chunk ends with one</span>}
      {checkpoints.map((one) => {
        const [name, value] = Object.entries(one.metrics).find(([key]) => key.startsWith("eval")) ?? [];
        return (
          <Button
            key={one.step}
            disabledReason={reason}
            hint={`${formatBytes(one.size_bytes)} at ${one.holders.join(", ")}${name ? `, ${name} ${formatMetric(value)}` : ""}`}
            onClick={() => setFrom(String(one.step))}
          >
            {`Step ${one.step}`}
            {one.best && <span className="muted">best</span>}
            {one.latest && <span className="muted">latest</span>}
          </Button>
        );
      })}
      {from !== null && <CloneDialog parents={[run]} from={from} onClose={() => setFrom(null)} />}
    </div>
  );
}
