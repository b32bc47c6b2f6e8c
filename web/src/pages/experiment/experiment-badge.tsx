import type { ExperimentView } from "@/api/experiments";
import { StateBadge } from "@/ui/state";
import { standOf } from "./experiment-state";

/** How an experiment stands, as people call it. */
export function ExperimentBadge({ experiment }: { experiment: ExperimentView }) {
  const stand = standOf(experiment);
  return <StateBadge state={stand.look} text={stand.text} />;
}
