import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { queueQuery } from "@/api/cluster";
import { type ExportFormat, exportRun } from "@/api/run-jobs";
import { checkpointsQuery, type RunView } from "@/api/runs";
import { formatBytes } from "@/lib/format";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Segmented, Select } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import { toast } from "@/ui/toasts";
import css from "./run.module.css";

const FORMATS: readonly { value: ExportFormat; label: string }[] = [
  { value: "adapter", label: "Adapter" },
  { value: "merged", label: "Merged model" },
];
const MEANINGS: Readonly<Record<ExportFormat, string>> = {
  adapter: "The LoRA weights alone, for peft; they need the base model beside them.",
  merged: "A whole model folder, for transformers and everything that reads it.",
};

/** A client makes the files; they are then in the pool, to be fetched from here. */
export function ExportDialog({ run, onClose }: { run: RunView; onClose(): void }) {
  const cache = useQueryClient();
  const hasAdapter = run.spec.finetuning_type === "lora";
  const { data: checkpoints = [] } = useQuery(checkpointsQuery(run.id));
  const [format, setFormat] = useState<ExportFormat>(hasAdapter ? "adapter" : "merged");
  const [checkpoint, setCheckpoint] = useState("best");
  const [error, setError] = useState<Error | null>(null);
  const start = async () => {
    try {
      await exportRun(run.id, format, checkpoint);
      toast({ title: `The export of ${run.id} was asked for`, text: "Its files show here once a client made them." });
      void cache.invalidateQueries({ queryKey: queueQuery.queryKey });
      onClose();
    } catch (refused) {
      setError(refused as Error);
    }
  };
  const reason = format === "adapter" && !hasAdapter ? "Only LoRA runs have an adapter" : null;
  return (
    <Dialog
      open
      onClose={onClose}
      title={`Export ${run.id}`}
      note={MEANINGS[format]}
      foot={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" disabledReason={reason} onClick={() => void start()}>
            Export
          </Button>
        </>
      }
    >
      <div className={css.form}>
        <Segmented label="Format" value={format} choices={FORMATS} onChange={(next: ExportFormat) => setFormat(next)} />
        <Select
          label="Checkpoint"
          value={checkpoint}
          choices={[
            { value: "best", label: "best" },
            { value: "latest", label: "latest" },
            ...checkpoints.map((one) => ({
              value: String(one.step),
              label: `step ${one.step}, ${formatBytes(one.size_bytes)}`,
            })),
          ]}
          onChange={setCheckpoint}
        />
        {reason && <p className={css.problem}>{reason}</p>}
        {error && <ErrorNotice error={error} />}
      </div>
    </Dialog>
  );
}
