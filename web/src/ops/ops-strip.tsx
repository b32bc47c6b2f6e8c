/** The latest operations and how far they are: requested, acknowledged, effective. */
import { useQueries } from "@tanstack/react-query";
import { X } from "lucide-react";
import { useEffect } from "react";
import { Link } from "react-router";
import { runQuery } from "@/api/runs";
import { Button } from "@/ui/button";
import { RunSwatch, StateBadge } from "@/ui/state";
import css from "./ops.module.css";
import { dispatch, useOps } from "./store";
import type { Phase, TrackedOp } from "./track";

const SHOWN_MAX = 5;
const LOOKS: Readonly<Record<Phase, string>> = {
  requested: "queued",
  acknowledged: "preparing",
  effective: "done",
  refused: "failed",
};

export function OpsStrip() {
  const ops = useOps();
  const open = [...new Set(ops.filter((one) => one.phase === "acknowledged").map((one) => one.run))];
  const seen = useQueries({ queries: open.map((run) => ({ ...runQuery(run), staleTime: 0 })), combine: viewsOf });
  useEffect(() => {
    for (const view of seen) if (view) dispatch({ kind: "seen", view });
  }, [seen]);
  if (ops.length === 0) return null;
  const more = ops.length - SHOWN_MAX;
  return (
    <section className={css.strip} aria-label="Operations">
      <ul aria-live="polite">
        {ops.slice(0, SHOWN_MAX).map((one) => (
          <li key={one.key} data-op={one.op} data-run={one.run} data-phase={one.phase}>
            <strong>{one.op}</strong>
            <RunSwatch run={one.run} />
            <Link to={`/runs/${one.run}`}>{one.run}</Link>
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
  );
}

function hide(): void {
  dispatch({ kind: "forgotten", phases: ["effective", "refused"] });
}

function viewsOf<T>(answers: readonly { data: T | undefined }[]): readonly (T | undefined)[] {
  return answers.map((answer) => answer.data);
}

/** The operation on a run that is not effective yet. */
export function openOp(ops: readonly TrackedOp[], run: string): TrackedOp | undefined {
  return ops.find((one) => one.run === run && (one.phase === "requested" || one.phase === "acknowledged"));
}
