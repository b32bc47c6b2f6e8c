import { useQuery } from "@tanstack/react-query";
import { checkpointsQuery, type RunView } from "@/api/runs";
import { formatBytes } from "@/lib/format";
import { worthOf } from "@/ops/clone-model";
import { Button } from "@/ui/button";
import css from "./experiment.module.css";

interface StartPointsProps {
  run: RunView;
  /** Why no clone may start now. */
  reason: string | null;
  onStart(step: number): void;
}

/** The checkpoints on the one curve that is shown: a clone may start warm from each of them. A click on its mark does the same. */
export function StartPoints({ run, reason, onStart }: StartPointsProps) {
  const { data: checkpoints = [] } = useQuery(checkpointsQuery(run.id));
  return (
    <div className={css.starts}>
      <span className="muted">{`Checkpoints of ${run.id}, to start a clone from, here or at their marks:`}</span>
      {checkpoints.length === 0 && <span className="muted">none yet, the first chunk ends with one</span>}
      {checkpoints.map((one) => (
        <Button
          key={one.step}
          disabledReason={reason}
          hint={[`${formatBytes(one.size_bytes)} at ${one.holders.join(", ")}`, worthOf(one, run)]
            .filter(Boolean)
            .join(", ")}
          onClick={() => onStart(one.step)}
        >
          {`Step ${one.step.toLocaleString("en")}`}
          {one.best && <span className="muted">best</span>}
          {one.latest && <span className="muted">latest</span>}
        </Button>
      ))}
    </div>
  );
}
