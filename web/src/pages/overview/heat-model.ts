/** The cells of the overview's heat map: GPUs where there are any, a machine's slots where there are none. Pure. */
import type { ClientView } from "@/api/cluster";
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
  readonly gpus: number;
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
  for (const device of devices) {
    if (device.kind === "gpu" || device.kind === "mig")
      gpus.set(device.client, [...(gpus.get(device.client) ?? []), device]);
  }
  const groups = clients.map((client): HeatGroup => {
    const own = gpus.get(client.name);
    const cells = own ? own.map((device) => gpuCell(client, device, values, metric)) : slotCells(client, values);
    return {
      key: client.name,
      label: client.state === "ready" ? client.name : `${client.name} (${client.state})`,
      cells,
    };
  });
  return {
    groups: groups.filter((group) => group.cells.length > 0),
    gpus: [...gpus.values()].reduce((sum, own) => sum + own.length, 0),
    slots: clients.reduce((sum, client) => sum + client.slots.length, 0),
  };
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

function gpuCell(client: ClientView, device: Device, values: Map<string, Values>, metric: HeatMetric): HeatCell {
  const { share, text } = LOOKS[metric].read(values.get(`${client.name}/${device.device}`) ?? {}, device);
  const index = device.device.split(":").at(-1);
  const slots = client.slots.filter((slot) => slot.device.split(":").at(-1) === index && slot.device !== "cpu");
  const runs = slots.flatMap((slot) => slot.runs.slice(0, 1));
  return {
    key: `${client.name}/${device.device}`,
    label: device.device,
    share,
    text: `${text}`,
    lines: [device.name, runs.length > 0 ? `trains ${runs.join(", ")}` : "trains nothing", ...outsiders(device)],
  };
}

function outsiders(device: Device): string[] {
  const others = new Set(device.processes.filter((one) => one.owner.startsWith("outsider")).map((one) => one.account));
  return others.size > 0 ? [`used by others: ${[...others].join(", ")}`] : [];
}

/** A machine without GPUs: how much of its time each slot trains, or at least whether it does. */
function slotCells(client: ClientView, values: Map<string, Values>): HeatCell[] {
  return client.slots.map((slot) => {
    const share = values.get(`${client.name}/slot:${slot.id.split("/").at(-1)}`)?.train_share;
    const [run] = slot.runs;
    const isOn = client.state !== "lost" && run !== undefined;
    const known =
      typeof share === "number"
        ? shareOf(share)
        : { share: isOn ? 1 : client.state === "lost" ? null : 0, text: run ?? "idle" };
    return {
      key: slot.id,
      label: isOn ? run : (slot.id.split("/").at(-1) ?? slot.id),
      share: known.share,
      text: known.text,
      lines: [slot.device_name || slot.device, run ? `trains ${run}` : slot.explanation],
    };
  });
}

export interface Throughput {
  readonly tokens: number | null;
  readonly samples: number | null;
  readonly watts: number | null;
}

/** Sums over the cluster; `null` where no device said anything. Of the runs that take turns on a slot the one that made the newest step counts. */
export function throughput(latest: Latest | undefined): Throughput {
  const newest = new Map<string, LatestSeries>();
  for (const series of latest?.series ?? []) {
    const key = `${series.client}/${series.device}/${series.owner === "" ? "" : "run"}`;
    if (series.at >= (newest.get(key)?.at ?? 0)) newest.set(key, series);
  }
  const sum = (metric: string) => {
    const known = [...newest.values()]
      .map((series) => series.values[metric])
      .filter((value) => typeof value === "number");
    return known.length > 0 ? known.reduce((total, value) => total + value, 0) : null;
  };
  return { tokens: sum("tokens_rate"), samples: sum("samples_rate"), watts: sum("gpu_power") };
}
