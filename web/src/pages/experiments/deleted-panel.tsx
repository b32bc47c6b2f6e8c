import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { restorableQuery } from "@/api/experiments";
import { mayAct, whoamiQuery } from "@/api/session";
import { plural } from "@/lib/format";
import { refusalOf, useExperimentOp } from "@/pages/experiment/experiment-ops";
import { Button } from "@/ui/button";
import { Panel } from "@/ui/panel";
import css from "./experiments.module.css";

const READ_EVERY_MS = 15_000;

/** Experiments that were deleted and can still be had back. The end of an undo window is no event, so it is asked for. */
export function DeletedPanel() {
  const { data: deleted = [] } = useQuery({
    ...restorableQuery,
    refetchInterval: ({ state }) => ((state.data ?? []).length > 0 ? READ_EVERY_MS : false),
  });
  const { data: who } = useQuery(whoamiQuery);
  const ask = useExperimentOp();
  if (deleted.length === 0) return null;
  return (
    <Panel title="Deleted" note="Kept until the undo window of the host is over" flush>
      <ul className={css.deleted}>
        {deleted.map((one) => (
          <li key={one.id} data-experiment={one.id}>
            <Link to={`/experiments/${one.id}`}>{one.name}</Link>
            <span className="muted">{plural(one.states.deleting ?? 0, "run")}</span>
            <Button
              disabledReason={refusalOf("restore", one, mayAct(who, "operator"))}
              aria-label={`Restore ${one.name}`}
              onClick={() => void ask("restore", one)}
            >
              Restore
            </Button>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
