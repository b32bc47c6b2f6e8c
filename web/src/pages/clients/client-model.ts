/** What is known of clients' machines and devices now, as tables show it. Pure. */
import type { ClientView } from "@/api/cluster";
import type { Device, DeviceProcess, Latest } from "@/api/profiler";

export const MACHINE = "machine";

/** Every reading that the clients' pages show: one request for all. */
export const CLIENT_METRICS: readonly string[] = [
  "gpu_utilization",
  "gpu_memory_used",
  "gpu_memory_total",
  "gpu_power",
  "gpu_power_limit",
  "gpu_temperature",
  "gpu_sm_clock",
  "cpu_utilization",
  "load_1m",
  "memory_used",
  "memory_total",
  "swap_used",
  "disk_free",
  "disk_total",
  "network_rx",
  "network_tx",
  "clock_offset",
  "samples_lost",
  "train_share",
];

export type Values = Readonly<Record<string, number | null>>;

export interface Reading {
  readonly values: Values;
  readonly at: number;
}

/** Newest values by client and device, of the device as a whole rather than of one process on it. */
export function readings(latest: Latest | undefined): ReadonlyMap<string, Reading> {
  const found = new Map<string, Reading>();
  for (const series of latest?.series ?? []) {
    if (series.owner !== "" && !series.device.startsWith("slot")) continue;
    const key = readingKey(series.client, series.device);
    const known = found.get(key);
    found.set(key, { values: { ...known?.values, ...series.values }, at: Math.max(known?.at ?? 0, series.at) });
  }
  return found;
}

export function readingKey(client: string, device: string): string {
  return `${client}/${device}`;
}

export interface ClientRow {
  readonly client: ClientView;
  readonly busy: number;
  readonly runs: readonly string[];
  readonly gpus: number;
  /** Mean over its GPUs; `undefined` where none answers. */
  readonly gpuUse: number | undefined;
  readonly cpuUse: number | undefined;
  /** Share of the machine's memory that is used. */
  readonly memoryUse: number | undefined;
  readonly diskFree: number | undefined;
  readonly outsiders: readonly string[];
}

export function clientRows(
  clients: readonly ClientView[],
  devices: readonly Device[],
  latest: Latest | undefined,
): ClientRow[] {
  const values = readings(latest);
  return clients.map((client): ClientRow => {
    const own = devices.filter((device) => device.client === client.name && device.kind === "gpu");
    const machine = values.get(readingKey(client.name, MACHINE))?.values ?? {};
    const uses = own.map((gpu) => values.get(readingKey(client.name, gpu.device))?.values.gpu_utilization ?? null);
    const known = uses.filter((use) => use !== null);
    const isLost = client.state === "lost";
    return {
      client,
      busy: isLost ? 0 : client.slots.filter((slot) => slot.runs.length > 0).length,
      runs: isLost ? [] : client.slots.flatMap((slot) => slot.runs.slice(0, 1)),
      gpus: own.length,
      gpuUse: known.length > 0 ? known.reduce((sum, use) => sum + use, 0) / known.length : undefined,
      cpuUse: machine.cpu_utilization ?? undefined,
      memoryUse: shareOf(machine.memory_used, machine.memory_total),
      diskFree: machine.disk_free ?? undefined,
      outsiders: outsidersOf(devices.filter((device) => device.client === client.name)),
    };
  });
}

/** `undefined` where one of the two has no answer. */
export function shareOf(part: number | null | undefined, whole: number | null | undefined): number | undefined {
  return typeof part === "number" && typeof whole === "number" && whole > 0 ? part / whole : undefined;
}

function outsidersOf(devices: readonly Device[]): string[] {
  const accounts = devices.flatMap((device) =>
    device.processes.filter((one) => ownerOf(one).kind === "outsider").map((one) => one.account || "unknown"),
  );
  return [...new Set(accounts)];
}

export interface Owner {
  readonly kind: "run" | "job" | "outsider" | "unknown";
  readonly name: string;
}

/** Whose a process is: `run:r1`, `job:j2` or `outsider:alice`. */
export function ownerOf(process: DeviceProcess): Owner {
  const [, kind, name] = /^(run|job|outsider):(.*)$/s.exec(process.owner) ?? [];
  return kind ? { kind: kind as Owner["kind"], name: name ?? "" } : { kind: "unknown", name: process.owner };
}

export interface ProcessRow {
  readonly key: string;
  readonly device: string;
  readonly process: DeviceProcess;
  readonly owner: Owner;
}

/** A process on several devices has a row for each. */
export function processRows(devices: readonly Device[]): ProcessRow[] {
  return devices.flatMap((device) =>
    device.processes.map((process) => ({
      key: `${device.device} ${process.pid}`,
      device: device.device,
      process,
      owner: ownerOf(process),
    })),
  );
}
