/** What is chosen, what that means for a panel, and what is shown where it is too much to look at. Pure. */
import type { Device, DeviceProcess, Latest } from "@/api/profiler";
import type { Aggregate, AnswerLine, By, Wish } from "@/api/profiler-query";
import { plural } from "@/lib/format";
import type { PanelSpec } from "./panels";

/** `top`: the lines with the greatest newest values. */
export type Gathering = Aggregate | "top";

export interface Selection {
  readonly clients: readonly string[];
  readonly gpus: readonly string[];
  readonly runs: readonly string[];
  readonly owners: readonly string[];
  readonly aggregate: Gathering;
  readonly by: By;
}

/** More lines than this are neither told apart by an eye nor sent. */
export const LINES_MAX = 40;
export const TOP = 12;

export interface PanelWish {
  readonly wish: Wish;
  /** Why it shows something else than was chosen. */
  readonly note: string | null;
  /** Only these series of the answer; `null` is all. */
  readonly only: ReadonlySet<string> | null;
}

/** How many lines a panel has when nothing is aggregated. */
export function seriesCount(panel: PanelSpec, selection: Selection, devices: readonly Device[]): number {
  const inClients = devices.filter((one) => selection.clients.length === 0 || selection.clients.includes(one.client));
  const isGpu = (one: Device) => one.kind === "gpu" || one.kind === "mig";
  const gpus = inClients.filter(
    (one) => isGpu(one) && (selection.gpus.length === 0 || selection.gpus.includes(one.device)),
  );
  switch (panel.group) {
    case "machine":
      return inClients.filter((one) => one.kind === "machine").length;
    case "training":
      return inClients.filter((one) => one.kind === "slot").length;
    case "process":
      return gpus.reduce((sum, one) => sum + new Set(one.processes.map((process) => process.owner)).size, 0);
    default:
      return gpus.length;
  }
}

export function wishOf(
  panel: PanelSpec,
  selection: Selection,
  devices: readonly Device[],
  latest: Latest | undefined,
  points: number,
): PanelWish {
  const metrics = panel.limit === null ? panel.metrics : [...panel.metrics, panel.limit];
  const isOfGpus = panel.group === "gpu" || panel.group === "process";
  const wish: Wish = {
    metrics,
    points,
    clients: selection.clients,
    gpus: isOfGpus ? selection.gpus : [],
    runs: selection.runs,
    owners: panel.group === "process" ? selection.owners : [],
  };
  const { aggregate, by } = selection;
  if (aggregate === "top") return topOf(panel, wish, selection, latest);
  if (aggregate !== "none") return { wish: { ...wish, aggregate, by }, note: null, only: null };
  const count = selection.runs.length > 0 ? 0 : seriesCount(panel, selection, devices) * panel.metrics.length;
  if (count <= LINES_MAX) return { wish: { ...wish, aggregate: "none", by: "device" }, note: null, only: null };
  const clients = new Set(
    devices.map((one) => one.client).filter((one) => selection.clients.length === 0 || selection.clients.includes(one)),
  );
  const isPerClient = panel.group !== "machine" && clients.size * panel.metrics.length <= LINES_MAX;
  return {
    wish: { ...wish, aggregate: "mean", by: isPerClient ? "client" : "all" },
    note: `${plural(count, "line")}: shown as the mean of ${isPerClient ? "each client" : "all"}. Choose fewer, or Top ${TOP}.`,
    only: null,
  };
}

function topOf(panel: PanelSpec, wish: Wish, selection: Selection, latest: Latest | undefined): PanelWish {
  const [metric = ""] = panel.metrics;
  const ranked = (latest?.series ?? [])
    .filter((one) => selection.clients.length === 0 || selection.clients.includes(one.client))
    .filter((one) => (wish.gpus ?? []).length === 0 || wish.gpus?.includes(one.device))
    .filter((one) => !one.owner || selection.owners.length === 0 || selection.owners.includes(one.owner))
    .flatMap((one) => {
      const value = one.values[metric];
      return typeof value === "number" ? [{ one, value }] : [];
    })
    .sort((a, b) => b.value - a.value)
    .slice(0, TOP)
    .map(({ one }) => one);
  const unique = (names: readonly string[]) => [...new Set(names)].sort();
  const isDevices = panel.group === "gpu" || panel.group === "process";
  return {
    wish: {
      ...wish,
      aggregate: "none",
      by: "device",
      clients: ranked.length > 0 ? unique(ranked.map((one) => one.client)) : wish.clients,
      gpus: isDevices && ranked.length > 0 ? unique(ranked.map((one) => one.device)) : wish.gpus,
    },
    note: `The ${TOP} with the greatest newest value`,
    only: new Set(ranked.map((one) => lineKey({ ...one, run: "" }))),
  };
}

/** Whose line it is; the same in every panel. */
export function lineKey(line: Pick<AnswerLine, "client" | "device" | "owner" | "run">): string {
  return [line.client, line.device, line.owner || line.run].filter(Boolean).join("/") || "all";
}

/** `outsider:alice` is a person from outside of gswarm. */
export function ownerLabel(owner: string): string {
  const [kind, name = ""] = owner.split(":");
  return kind === "outsider" ? `${name} (not of gswarm)` : `${kind} ${name}`;
}

export interface ProcessRow extends DeviceProcess {
  readonly client: string;
  readonly device: string;
}

/** The processes on what is chosen. */
export function processRows(devices: readonly Device[], { clients, gpus, runs, owners }: Selection): ProcessRow[] {
  const has = (chosen: readonly string[], name: string) => chosen.length === 0 || chosen.includes(name);
  return devices
    .filter((one) => has(clients, one.client) && has(gpus, one.device))
    .flatMap(({ client, device, processes }) => processes.map((process) => ({ ...process, client, device })))
    .filter(({ owner }) => has(owners, owner) && (runs.length === 0 || runs.includes(owner.replace(/^run:/, ""))));
}
