/** Interactive control of one or many runs: what can be done with them, and for what cannot, why. */
import { useQuery } from "@tanstack/react-query";
import { Copy, Play, RotateCcw, Square, Trash2 } from "lucide-react";
import { useState } from "react";
import type { RunOp, RunView } from "@/api/runs";
import { mayAct, whoamiQuery } from "@/api/session";
import { plural } from "@/lib/format";
import { Button } from "@/ui/button";
import { allowed } from "./allowed";
import { CloneDialog } from "./clone-dialog";
import css from "./ops.module.css";
import { askAll } from "./store";

const LABELS = { stop: "Stop", resume: "Resume", clone: "Clone…", delete: "Delete", restore: "Restore" } as const;
const ICONS = { stop: Square, resume: Play, clone: Copy, delete: Trash2, restore: RotateCcw } as const;

export function OpsBar({ runs }: { runs: readonly RunView[] }) {
  const { data: who } = useQuery(whoamiQuery);
  const [cloning, setCloning] = useState<readonly RunView[] | null>(null);
  const may = mayAct(who, "operator");
  const isGone = runs.some((run) => run.state === "deleting");
  const ops: readonly RunOp[] = ["stop", "resume", "clone", "delete", ...(isGone ? (["restore"] as const) : [])];
  return (
    <div className={css.bar} role="toolbar" aria-label="Operations on runs">
      {ops.map((op) => {
        const able = allowed(op, runs, may);
        const Icon = ICONS[op];
        const some = able.reason === null && able.runs.length < runs.length;
        return (
          <Button
            key={op}
            kind={op === "delete" ? "danger" : "plain"}
            disabledReason={able.reason}
            hint={some && `Possible for ${able.runs.length} of ${plural(runs.length, "run")}`}
            onClick={() =>
              op === "clone"
                ? setCloning(able.runs)
                : void askAll(
                    op,
                    able.runs.map((run) => run.id),
                  )
            }
          >
            <Icon size={13} aria-hidden />
            {LABELS[op]}
            {able.reason === null && runs.length > 1 && <span className="muted">{able.runs.length}</span>}
          </Button>
        );
      })}
      {cloning && <CloneDialog parents={cloning} onClose={() => setCloning(null)} />}
    </div>
  );
}
