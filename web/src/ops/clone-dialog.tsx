/** The editor of a clone: its keys, the difference to the parent, where it starts, and the host's word on whether that is possible. */
import { useQueries, useQuery } from "@tanstack/react-query";
import { useDeferredValue, useMemo, useState } from "react";
import { newRequestKey } from "@/api/client";
import { type CheckpointView, checkpointsQuery, type RunView, validateClone } from "@/api/runs";
import { plural } from "@/lib/format";
import { useSettled } from "@/lib/use-settled";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Input, Select } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import { toast } from "@/ui/toasts";
import { differences, type Edits, editableKeys, wishOf, worthOf } from "./clone-model";
import { CloneDiff } from "./clone-diff";
import { CloneKeys } from "./clone-keys";
import css from "./ops.module.css";
import { cloneAll } from "./store";

const SETTLE_MS = 250;

interface CloneDialogProps {
  parents: readonly RunView[];
  /** A step whose checkpoint it starts from, chosen on the curve. */
  from?: string;
  onClose(): void;
}

export function CloneDialog({ parents, from = "", onClose }: CloneDialogProps) {
  const [first] = parents as readonly [RunView];
  const [edits, setEdits] = useState<Edits>({});
  const [start, setStart] = useState(from);
  const [search, setSearch] = useState("");
  const [isBusy, setBusy] = useState(false);
  const keys = useMemo(() => editableKeys(first.spec), [first]);
  const filter = useDeferredValue(search.toLowerCase());
  const { data: checkpoints = [] } = useQuery(checkpointsQuery(first.id));
  const wish = wishOf(first.spec, edits, start);
  const check = useValidation(parents, wish);
  // The same for every press of the button while this dialog is open.
  const [requestKeys] = useState(() => new Map(parents.map((run) => [run.id, newRequestKey()])));
  const make = async () => {
    setBusy(true);
    const made = await cloneAll(
      parents.map((run) => run.id),
      wish,
      requestKeys,
    );
    setBusy(false);
    if (made.length < parents.length) return;
    toast({
      title: made.length === 1 ? `${made[0]?.id} is a clone of ${first.id}` : `${plural(made.length, "clone")} made`,
    });
    onClose();
  };
  return (
    <Dialog
      open
      onClose={onClose}
      title={parents.length === 1 ? `Clone ${first.id}` : `Clone ${plural(parents.length, "run")}`}
      note={
        parents.length === 1 ? first.name : `The same changes for each of ${parents.map((run) => run.id).join(", ")}`
      }
      foot={
        <>
          <span className={css.verdict} role="status">
            {check.text}
          </span>
          <Button onClick={onClose}>Cancel</Button>
          <Button
            kind="primary"
            disabledReason={isBusy ? "The host makes it" : check.reason}
            onClick={() => void make()}
          >
            {parents.length === 1 ? "Make the clone" : `Make ${parents.length} clones`}
          </Button>
        </>
      }
    >
      <div className={css.editor}>
        <div className={css.editorTop}>
          <Select label="Start from" value={start} choices={startsOf(checkpoints, parents)} onChange={setStart} />
          <Input
            type="search"
            aria-label="Find a key"
            placeholder="Find a key"
            value={search}
            onChange={(event) => setSearch(event.target.value)}
          />
        </div>
        {check.error && <ErrorNotice error={check.error} />}
        <CloneDiff differences={differences(first.spec, edits)} />
        <CloneKeys
          spec={first.spec}
          keys={keys.filter((key) => key.includes(filter))}
          edits={edits}
          onEdit={setEdits}
        />
      </div>
    </Dialog>
  );
}

/** The host's word on the clone of every parent, once typing has settled. */
function useValidation(parents: readonly RunView[], wish: ReturnType<typeof wishOf>) {
  const text = JSON.stringify(wish);
  const settled = useSettled(text, SETTLE_MS);
  const answers = useQueries({
    queries: parents.map((run) => ({
      queryKey: ["clone-check", run.id, settled],
      queryFn: () => validateClone(run.id, JSON.parse(settled) as typeof wish),
      retry: false,
      gcTime: 0,
    })),
  });
  const error = answers.find((answer) => answer.error)?.error ?? null;
  const planned = answers[0]?.data;
  if (settled !== text || (!error && answers.some((answer) => answer.isPending))) {
    return { error: null, text: "Checking…", reason: "The host is checking it" };
  }
  if (error) return { error, text: "", reason: error.message };
  const start = planned?.start ? `warm from step ${planned.start.step}` : "cold, from the base model";
  return {
    error: null,
    text: planned && `Possible: ${start}, steps ${planned.first_step} to ${planned.total_steps}`,
    reason: null,
  };
}

function startsOf(checkpoints: readonly CheckpointView[], parents: readonly RunView[]) {
  const [first] = parents as readonly [RunView];
  const steps = checkpoints.map((one) => {
    const words = [`step ${one.step}`, worthOf(one, first), one.best && "best", one.latest && "latest"];
    return { value: String(one.step), label: words.filter(Boolean).join(", ") };
  });
  return [
    { value: "", label: "the base model (cold)" },
    { value: "latest", label: "the latest checkpoint (warm)" },
    { value: "best", label: "the best checkpoint (warm)" },
    ...(parents.length === 1 ? steps : []),
  ];
}
