/** The latest operations and how far they are: requested, acknowledged, effective. */
import { useQueries } from "@tanstack/react-query";
import { X } from "lucide-react";
import { useEffect } from "react";
import { Link } from "react-router";
import { experimentQuery, type ExperimentView } from "@/api/experiments";
import { runQuery, type RunView } from "@/api/runs";
import { Button } from "@/ui/button";
import { RunSwatch, StateBadge } from "@/ui/state";
import css from "./ops.module.css";
import { dispatch, useOps } from "./store";
import { isOn, type Phase, type Subject, type TrackedOp } from "./track";

const SHOWN_MAX = 5;
const LOOKS: Readonly<Record<Phase, string>> = {
  requested: "queued",
  acknowledged: "preparing",
  effective: "done",
  refused: "failed",
};

export function OpsStrip() {
  const ops = useOps();
  const runs = useQueries({
    queries: waiting(ops, "run").map((id) => ({ ...runQuery(id), staleTime: 0 })),
    combine: readsOf<RunView>,
  });
  const experiments = useQueries({
    queries: waiting(ops, "experiment").map((id) => ({ ...experimentQuery(id), staleTime: 0 })),
    combine: readsOf<ExperimentView>,
  });
  useEffect(() => {
    for (const { view, readMs } of runs) dispatch({ kind: "seen", seen: { kind: "run", view }, readMs });
    for (const { view, readMs } of experiments) dispatch({ kind: "seen", seen: { kind: "experiment", view }, readMs });
  }, [runs, experiments]);
  if (ops.length === 0) return null;
  const more = ops.length - SHOWN_MAX;
  return (
    <>
      <section className={css.strip} aria-label="Operations">
        <ul aria-live="polite">
          {ops.slice(0, SHOWN_MAX).map((one) => (
            <li key={one.key} data-op={one.op} data-phase={one.phase} {...{ [`data-${one.on.kind}`]: one.on.id }}>
              <strong>{one.op}</strong>
              <SubjectLink on={one.on} />
              <StateBadge state={LOOKS[one.phase]} text={one.phase} />
              {one.note && <span className="muted">{one.note}</span>}
            </li>
          ))}
          {more > 0 && <li className="muted">{`and ${more} more`}</li>}
        </ul>
        <Button kind="ghost" label="Hide finished operations" onClick={hide}>
          <X size={14} aria-hidden />
        </Button>
      </section>
      <div className={css.room} aria-hidden />
    </>
  );
}

function SubjectLink({ on }: { on: Subject }) {
  if (on.kind === "experiment") return <Link to={`/experiments/${on.id}`}>{on.name}</Link>;
  return (
    <>
      <RunSwatch run={on.id} />
      <Link to={`/runs/${on.id}`}>{on.id}</Link>
    </>
  );
}

/** Ids of what accepted operations wait for. */
function waiting(ops: readonly TrackedOp[], kind: Subject["kind"]): readonly string[] {
  const found = ops.filter((one) => one.phase === "acknowledged" && one.on.kind === kind);
  return [...new Set(found.map((one) => one.on.id))];
}

function hide(): void {
  dispatch({ kind: "forgotten", phases: ["effective", "refused"] });
}

interface Read<T> {
  readonly view: T;
  readonly readMs: number;
}

function readsOf<T>(answers: readonly { data: T | undefined; dataUpdatedAt: number }[]): readonly Read<T>[] {
  return answers.flatMap(({ data, dataUpdatedAt }) =>
    data === undefined ? [] : [{ view: data, readMs: dataUpdatedAt }],
  );
}

/** The operation on a run that is not effective yet. */
export function openOp(ops: readonly TrackedOp[], run: string): TrackedOp | undefined {
  return ops.find((one) => isOn(one, "run", run) && (one.phase === "requested" || one.phase === "acknowledged"));
}
