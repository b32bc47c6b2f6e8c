/** What is shown of which machines, and how its lines are gathered. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import type { Device } from "@/api/profiler";
import { answerQuery, type By, type Note, type Wish } from "@/api/profiler-query";
import { recentRunsQuery } from "@/api/run-list";
import { resolved } from "@/lib/time-range";
import { useNow } from "@/lib/use-now";
import { Button } from "@/ui/button";
import { Select } from "@/ui/field";
import { MultiSelect } from "@/ui/multi-select";
import { optionsOf, runOptions } from "./options";
import css from "./profiler.module.css";
import { type Gathering, TOP } from "./selection";
import type { ProfilerState } from "./use-state";

const GATHERINGS: readonly { value: Gathering; label: string }[] = [
  { value: "none", label: "Each" },
  { value: "top", label: `Top ${TOP}` },
  { value: "mean", label: "Mean" },
  { value: "max", label: "Maximum" },
  { value: "min", label: "Minimum" },
  { value: "sum", label: "Sum" },
];
const BYS: readonly { value: By; label: string }[] = [
  { value: "device", label: "device" },
  { value: "client", label: "client" },
  { value: "run", label: "run" },
  { value: "all", label: "all together" },
];
/** Who had shares of GPUs in the range: only the lines' names are of interest. */
const SHARES: Wish = { metrics: ["process_memory_used"], points: 4 };
const SLOW_MS = 60_000;

interface ToolbarProps {
  state: ProfilerState;
  devices: readonly Device[];
  notes: readonly Note[];
}

export function Toolbar({ state, devices, notes }: ToolbarProps) {
  const { selection, range } = state;
  const { data: known } = useQuery(recentRunsQuery);
  const { data: shares } = useQuery(answerQuery(range, SHARES, SLOW_MS));
  const now = useNow(SLOW_MS);
  const options = useMemo(() => optionsOf(devices, shares?.series ?? []), [devices, shares]);
  const runs = useMemo(() => runOptions(known ?? [], notes, resolved(range, now)), [known, notes, range, now]);
  const isGathered = selection.aggregate !== "none" && selection.aggregate !== "top";
  return (
    <div className={css.toolbar} role="group" aria-label="Selection">
      <MultiSelect label="Client" options={options.clients} chosen={selection.clients} onChange={state.setClients} />
      <MultiSelect label="GPU" options={options.gpus} chosen={selection.gpus} onChange={state.setGpus} />
      <MultiSelect label="Run" options={runs} chosen={selection.runs} onChange={state.setRuns} />
      <MultiSelect label="User" options={options.owners} chosen={selection.owners} onChange={state.setOwners} />
      <Select label="Lines" value={selection.aggregate} choices={GATHERINGS} onChange={state.setGathering} />
      {isGathered && <Select label="of each" value={selection.by} choices={BYS} onChange={state.setBy} />}
      {state.isolated.length > 0 && <Button onClick={() => state.setIsolated([])}>Show all lines</Button>}
    </div>
  );
}
