/** What is shown of which machines, and how its lines are gathered. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import type { Device } from "@/api/profiler";
import type { By } from "@/api/profiler-query";
import { runsInStateQuery } from "@/api/runs";
import { Button } from "@/ui/button";
import { Select } from "@/ui/field";
import { MultiSelect, type Option } from "@/ui/multi-select";
import css from "./profiler.module.css";
import { type Gathering, ownerLabel, TOP } from "./selection";
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
const RUNS_MAX = 1000;

export function Toolbar({ state, devices }: { state: ProfilerState; devices: readonly Device[] }) {
  const { selection } = state;
  const { data: running } = useQuery(runsInStateQuery("running", RUNS_MAX));
  const options = useMemo(() => optionsOf(devices), [devices]);
  const runs = useMemo(
    () =>
      (running ?? []).map((run) => ({ value: run.id, label: run.name === run.id ? run.id : `${run.id} ${run.name}` })),
    [running],
  );
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

interface Options {
  readonly clients: readonly Option[];
  readonly gpus: readonly Option[];
  readonly owners: readonly Option[];
}

function optionsOf(devices: readonly Device[]): Options {
  const sorted = (names: Iterable<string>) =>
    [...new Set(names)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const gpus = devices.filter((one) => one.kind === "gpu" || one.kind === "mig");
  const owners = gpus.flatMap((one) => one.processes.map((process) => process.owner));
  return {
    clients: sorted(devices.map((one) => one.client)).map((value) => ({ value })),
    gpus: sorted(gpus.map((one) => one.device)).map((value) => ({ value })),
    owners: sorted(owners).map((value) => ({ value, label: ownerLabel(value) })),
  };
}
