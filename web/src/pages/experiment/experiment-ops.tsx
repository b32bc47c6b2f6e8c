import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ExperimentOp, type ExperimentView } from "@/api/experiments";
import { mayAct, whoamiQuery } from "@/api/session";
import { askExperiment } from "@/ops/store";
import { Button } from "@/ui/button";
import { toast } from "@/ui/toasts";

const OPS: readonly { op: ExperimentOp; label: string }[] = [
  { op: "stop", label: "Stop all" },
  { op: "resume", label: "Resume all" },
  { op: "delete", label: "Delete" },
];
/** Of one that is deleted. */
const UNDO: typeof OPS = [{ op: "restore", label: "Restore" }];
const UNDO_MS = 30_000;

/** Asks the host for an operation on a whole experiment. */
export function useExperimentOp(): (op: ExperimentOp, experiment: ExperimentView) => Promise<void> {
  const client = useQueryClient();
  const ask = async (op: ExperimentOp, experiment: ExperimentView) => {
    const view = await askExperiment(op, experiment);
    if (view === null) return;
    void client.invalidateQueries({ queryKey: ["experiments"] });
    if (op !== "delete") return;
    toast({
      title: `${experiment.name} is deleted`,
      text: "It can be restored until the undo window of the host is over.",
      action: { label: "Undo", onClick: () => void ask("restore", experiment) },
      stayMs: UNDO_MS,
    });
  };
  return ask;
}

/** Why an operation on an experiment cannot be asked for now. */
export function refusalOf(op: ExperimentOp, experiment: Pick<ExperimentView, "possible">, may: boolean): string | null {
  if (!may) return "Your token may only look; an operator's may do this";
  if (experiment.possible.includes(op)) return null;
  return op === "restore" ? "The undo window of the host is over" : `None of its runs can ${op} now`;
}

/** What can be done with all runs at once. */
export function ExperimentOps({ experiment }: { experiment: ExperimentView }) {
  const { data: who } = useQuery(whoamiQuery);
  const ask = useExperimentOp();
  return (experiment.state === "deleted" ? UNDO : OPS).map(({ op, label }) => (
    <Button
      key={op}
      kind={op === "delete" ? "danger" : "plain"}
      disabledReason={refusalOf(op, experiment, mayAct(who, "operator"))}
      onClick={() => void ask(op, experiment)}
    >
      {label}
    </Button>
  ));
}
