/** The cells of the overview's heat map: GPUs where there are any, a machine's slots where there are none. Pure. */
import type { ClientView, SlotView } from "@/api/cluster";
import type { Device, Latest, LatestSeries } from "@/api/profiler";
import { formatBytes, formatNumber, formatPercent, NONE } from "@/lib/format";
import type { HeatCell, HeatGroup } from "@/ui/heat/layout";

export type HeatMetric = "utilization" | "memory" | "temperature" | "power";

interface MetricLook {
  readonly label: string;
  readonly metrics: readonly string[];
  /** From the newest values of a device to a share of the scale, and the text. */
  read(values: Values, device: Device | null): { share: number | null; text: string };
}

type Values = Readonly<Record<string, number | null>>;

const HOT_C = 90;
const COOL_C = 30;
const POWER_W = 700;

export const LOOKS: Readonly<Record<HeatMetric, MetricLook>> = {
  utilization: {
    label: "Utilisation",
    metrics: ["gpu_utilization"],
    read: (values) => shareOf(values.gpu_utilization),
  },
  memory: {
    label: "Memory",
    metrics: ["gpu_memory_used", "gpu_memory_total"],
    read: (values, device) => {
      const used = values.gpu_memory_used ?? null;
      const total = values.gpu_memory_total ?? device?.memory_total_bytes ?? null;
      if (used === null || !total) return { share: null, text: used === null ? NONE : formatBytes(used) };
      return { share: used / total, text: `${formatPercent(used / total)}, ${formatBytes(used)}` };
    },
  },
  temperature: {
    label: "Temperature",
    metrics: ["gpu_temperature"],
    read: ({ gpu_temperature: value = null }) =>
      value === null
        ? { share: null, text: NONE }
        : { share: (value - COOL_C) / (HOT_C - COOL_C), text: `${Math.round(value)} °C` },
  },
  power: {
    label: "Power",
    metrics: ["gpu_power", "gpu_power_limit"],
    read: ({ gpu_power: value = null, gpu_power_limit: limit = null }) =>
      value === null
        ? { share: null, text: NONE }
        : { share: value / (limit ?? POWER_W), text: `${formatNumber(Math.round(value))} W` },
  },
};

function shareOf(value: number | null | undefined): { share: number | null; text: string } {
  return value === null || value === undefined
    ? { share: null, text: NONE }
    : { share: value, text: formatPercent(value) };
}

/** Every metric that a heat map may need, and what else the overview shows: one request for all. */
export const LATEST_METRICS: readonly string[] = [
  ...new Set(Object.values(LOOKS).flatMap((look) => look.metrics)),
  "cpu_utilization",
  "train_share",
  "tokens_rate",
  "samples_rate",
];

export interface HeatModel {
  readonly groups: readonly HeatGroup[];
  /** Whole ones; the MIG devices that they are split into are counted apart. */
  readonly gpus: number;
  readonly migs: number;
  readonly slots: number;
}

export function heatModel(
  clients: readonly ClientView[],
  devices: readonly Device[],
  latest: Latest | undefined,
  metric: HeatMetric,
): HeatModel {
  const values = newestValues(latest);
  const gpus = new Map<string, Device[]>();
  const parents = new Map<string, string>();
  for (const device of devices) {
    if (isGpu(device)) gpus.set(device.client, [...(gpus.get(device.client) ?? []), device]);
    else if (device.kind === "slot") parents.set(`${device.client}/${device.device}`, device.parent);
  }
  // Without a GPU there is nothing to choose: the map shows what slots do.
  const shown = gpus.size > 0 ? metric : "utilization";
  const groups = clients.map((client): HeatGroup => {
    const own = gpus.get(client.name);
    return {
      key: client.name,
      label: client.state === "ready" ? client.name : `${client.name} (${client.state})`,
      cells: own
        ? own.map((device) => gpuCell(client, device, runsOn(client, device, parents), values, shown))
        : client.slots.map((slot) => slotCell(client, slot, values, shown)),
    };
  });
  const all = [...gpus.values()].flat();
  return {
    groups: groups.filter((group) => group.cells.length > 0),
    gpus: all.filter((device) => device.kind === "gpu").length,
    migs: all.filter((device) => device.kind === "mig").length,
    slots: clients.reduce((sum, client) => sum + client.slots.length, 0),
  };
}

function isGpu(device: Device): boolean {
  return device.kind === "gpu" || device.kind === "mig";
}

/** As the sampler names the slot that the plan calls `left/0`. */
function slotKey(client: string, slot: string): string {
  return `${client}/slot:${slot.split("/").at(-1)}`;
}

/** What trains on exactly that device: its client says which one a slot has; `cuda:0` is `gpu:0` where it does not. */
function runsOn(client: ClientView, device: Device, parents: ReadonlyMap<string, string>): string[] {
  return client.slots
    .filter((slot) => {
      const parent = parents.get(slotKey(client.name, slot.id)) || slot.device.replace("cuda:", "gpu:");
      return parent === device.device;
    })
    .flatMap((slot) => slot.runs.slice(0, 1));
}

/** By client and device; what belongs to the device as a whole stands before what belongs to a run on it. */
function newestValues(latest: Latest | undefined): Map<string, Values> {
  const found = new Map<string, Values>();
  for (const series of latest?.series ?? []) {
    const key = `${series.client}/${series.device}`;
    const known = found.get(key);
    found.set(key, series.owner === "" ? { ...known, ...series.values } : { ...series.values, ...known });
  }
  return found;
}

const LOST = "client is lost";

function gpuCell(
  client: ClientView,
  device: Device,
  runs: readonly string[],
  values: Map<string, Values>,
  metric: HeatMetric,
): HeatCell {
  const isLost = client.state === "lost";
  const known = isLost ? {} : (values.get(`${client.name}/${device.device}`) ?? {});
  const { share, text } = LOOKS[metric].read(known, isLost ? null : device);
  const use = runs.length > 0 ? `trains ${runs.join(", ")}` : "trains nothing";
  return {
    key: `${client.name}/${device.device}`,
    label: device.device,
    share,
    text,
    lines: [device.name, ...(isLost ? [LOST] : [use, ...outsiders(device)])],
  };
}

function outsiders(device: Device): string[] {
  const others = new Set(device.processes.filter((one) => one.owner.startsWith("outsider")).map((one) => one.account));
  return others.size > 0 ? [`used by others: ${[...others].join(", ")}`] : [];
}

/** A machine without GPUs: how much of its time each slot trains, or at least whether it does. It has no other reading of a slot. */
function slotCell(client: ClientView, slot: SlotView, values: Map<string, Values>, metric: HeatMetric): HeatCell {
  const number = slot.id.split("/").at(-1) ?? slot.id;
  const [run] = slot.runs;
  const cell = (label: string, share: number | null, text: string, line: string): HeatCell => ({
    ...{ key: slot.id, label, share, text },
    lines: [slot.device_name || slot.device, line],
  });
  if (client.state === "lost") return cell(number, null, NONE, LOST);
  const label = run ?? number;
  const line = run ? `trains ${run}` : slot.explanation;
  if (metric !== "utilization") return cell(label, null, NONE, line);
  const share = values.get(slotKey(client.name, slot.id))?.train_share;
  if (typeof share === "number") return cell(label, share, formatPercent(share), line);
  return cell(label, run ? 1 : 0, run ?? "idle", line);
}

export interface Throughput {
  readonly tokens: number | null;
  readonly samples: number | null;
  readonly watts: number | null;
}

/**
 * Sums over the cluster; `null` where no device said anything. A step's rates count only of slots that hold a run and train: the newest
 * step says nothing about now once its slot stands still. Of the runs that take turns on a slot the one that made the newest step counts.
 */
export function throughput(latest: Latest | undefined, clients: readonly ClientView[]): Throughput {
  const newest = new Map<string, LatestSeries>();
  const still = new Set<string>();
  for (const series of latest?.series ?? []) {
    if (series.values.train_share === 0) still.add(`${series.client}/${series.device}`);
    const key = `${series.client}/${series.device}/${series.owner === "" ? "" : "run"}`;
    if (series.at >= (newest.get(key)?.at ?? 0)) newest.set(key, series);
  }
  const held = clients
    .filter((client) => client.state !== "lost")
    .flatMap((client) =>
      client.slots.filter((slot) => slot.runs.length > 0).map((slot) => slotKey(client.name, slot.id)),
    );
  const training = new Set(held.filter((key) => !still.has(key)));
  const sum = (metric: string, counts: (series: LatestSeries) => boolean) => {
    const known = [...newest.values()]
      .filter((series) => typeof series.values[metric] === "number")
      .map((series) => (counts(series) ? (series.values[metric] as number) : 0));
    return known.length > 0 ? known.reduce((total, value) => total + value, 0) : null;
  };
  const isTraining = (series: LatestSeries) => training.has(`${series.client}/${series.device}`);
  return {
    tokens: sum("tokens_rate", isTraining),
    samples: sum("samples_rate", isTraining),
    // What a MIG device draws is its GPU's.
    watts: sum("gpu_power", (series) => !series.device.includes("/")),
  };
}
