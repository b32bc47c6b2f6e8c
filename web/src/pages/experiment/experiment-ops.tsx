import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ExperimentOp, type ExperimentView, operateExperiment } from "@/api/experiments";
import { mayAct, whoamiQuery } from "@/api/session";
import { Button } from "@/ui/button";
import { toast, toastError } from "@/ui/toasts";

const OPS: readonly { op: ExperimentOp; label: string; done: string }[] = [
  { op: "stop", label: "Stop all", done: "Every run stops at its next step" },
  { op: "resume", label: "Resume all", done: "Every stopped run is queued" },
  { op: "delete", label: "Delete", done: "The experiment is deleted" },
];
const UNDO_MS = 30_000;

/** What can be done with all runs at once. */
export function ExperimentOps({ experiment }: { experiment: ExperimentView }) {
  const client = useQueryClient();
  const { data: who } = useQuery(whoamiQuery);
  const ask = async (op: ExperimentOp, done: string) => {
    try {
      client.setQueryData(["experiment", experiment.id, "view"], await operateExperiment(experiment.id, op));
      const undo = { label: "Undo", onClick: () => void ask("restore", "The experiment is back") };
      toast({ title: done, ...(op === "delete" ? { action: undo, stayMs: UNDO_MS } : {}) });
    } catch (error) {
      toastError(`Could not ${op} ${experiment.name}`, error);
    }
  };
  return OPS.map(({ op, label, done }) => (
    <Button
      key={op}
      kind={op === "delete" ? "danger" : "plain"}
      disabledReason={
        !mayAct(who, "operator")
          ? "Your token may only look; an operator's may do this"
          : experiment.possible.includes(op)
            ? null
            : `None of its runs can ${op} now`
      }
      onClick={() => void ask(op, done)}
    >
      {label}
    </Button>
  ));
}
