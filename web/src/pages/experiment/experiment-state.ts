/** How an experiment stands. Pure. */
import type { ExperimentView } from "@/api/experiments";

interface Stand {
  /** A state that `StateBadge` knows. */
  readonly look: string;
  readonly text: string;
}

const GONE = ["deleting", "deleted"];

/** The host calls an experiment idle once nothing of it goes on by itself: it is finished then, or somebody stopped it. */
export function standOf({ state, states }: Pick<ExperimentView, "state" | "states">): Stand {
  if (state !== "idle") return { look: state, text: state };
  const found = Object.keys(states).filter((one) => !GONE.includes(one) && (states[one] ?? 0) > 0);
  if (found.includes("stopped")) return { look: "stopped", text: "stopped" };
  if (found.length > 0 && found.every((one) => one === "failed")) return { look: "failed", text: "failed" };
  return found.length > 0 ? { look: "completed", text: "finished" } : { look: "idle", text: "no runs left" };
}
