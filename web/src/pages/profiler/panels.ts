/** The panels: every metric of the catalog is in one of them, also those that nobody has thought of here. Pure. */
import type { Metric } from "@/api/profiler-query";

export interface PanelSpec {
  readonly id: string;
  readonly title: string;
  readonly group: string;
  readonly unit: string;
  readonly help: string;
  readonly metrics: readonly string[];
  /** What of the title is drawn dashed, where there are two. */
  readonly words: readonly string[];
  /** Of which the value is a part: memory, the power limit. */
  readonly limit: string | null;
  readonly thresholds: readonly { readonly value: number; readonly text: string }[];
}

interface Known {
  readonly title: string;
  readonly metrics: readonly string[];
  readonly words?: readonly string[];
  readonly limit?: string;
  readonly thresholds?: PanelSpec["thresholds"];
}

const KNOWN: readonly Known[] = [
  { title: "GPU utilisation", metrics: ["gpu_utilization"] },
  { title: "GPU memory", metrics: ["gpu_memory_used"], limit: "gpu_memory_total" },
  { title: "Memory bandwidth use", metrics: ["gpu_memory_utilization"] },
  { title: "Power", metrics: ["gpu_power"], limit: "gpu_power_limit" },
  {
    title: "Temperature",
    metrics: ["gpu_temperature"],
    thresholds: [
      { value: 80, text: "warm" },
      { value: 90, text: "hot" },
    ],
  },
  { title: "Memory temperature", metrics: ["gpu_memory_temperature"], thresholds: [{ value: 95, text: "hot" }] },
  { title: "SM clock", metrics: ["gpu_sm_clock"] },
  { title: "Memory clock", metrics: ["gpu_memory_clock"] },
  { title: "Throttle reasons", metrics: ["gpu_throttle_reasons"] },
  { title: "PCIe traffic", metrics: ["gpu_pcie_rx", "gpu_pcie_tx"], words: ["rx", "tx"] },
  { title: "NVLink traffic", metrics: ["gpu_nvlink_rx", "gpu_nvlink_tx"], words: ["rx", "tx"] },
  { title: "Energy", metrics: ["gpu_energy"] },
  { title: "Fan", metrics: ["gpu_fan"] },
  {
    title: "ECC errors",
    metrics: ["gpu_ecc_uncorrected", "gpu_ecc_corrected"],
    words: ["uncorrected", "corrected"],
    thresholds: [{ value: 1, text: "error" }],
  },
  { title: "XID errors", metrics: ["gpu_xid"], thresholds: [{ value: 1, text: "error" }] },
  { title: "Process memory", metrics: ["process_memory_used"] },
  { title: "Process SM use", metrics: ["process_sm_utilization"] },
  { title: "CPU", metrics: ["cpu_utilization"] },
  { title: "Memory", metrics: ["memory_used"], limit: "memory_total" },
  { title: "Load", metrics: ["load_1m", "load_5m", "load_15m"], words: ["1 min", "5 min", "15 min"] },
  { title: "Swap", metrics: ["swap_used"] },
  { title: "Disk traffic", metrics: ["disk_read", "disk_write"], words: ["read", "write"] },
  { title: "Disk free", metrics: ["disk_free"], limit: "disk_total" },
  { title: "Network traffic", metrics: ["network_rx", "network_tx"], words: ["rx", "tx"] },
  { title: "Samples lost", metrics: ["samples_lost"], thresholds: [{ value: 1, text: "loss" }] },
  { title: "Clock offset", metrics: ["clock_offset"] },
  { title: "Tokens", metrics: ["tokens_rate"] },
  { title: "Samples", metrics: ["samples_rate"] },
  { title: "Step time", metrics: ["step_time"] },
  { title: "Model FLOPs utilisation", metrics: ["mfu"] },
  { title: "Training share", metrics: ["train_share"] },
  { title: "Swap share", metrics: ["swap_share"] },
  { title: "Idle share", metrics: ["idle_share"] },
  { title: "Data wait", metrics: ["data_wait"], thresholds: [{ value: 0.2, text: "starved" }] },
];

export const GROUPS: readonly (readonly [group: string, title: string])[] = [
  ["gpu", "GPU"],
  ["process", "Process"],
  ["machine", "Machine"],
  ["training", "Training"],
];

export function panelsOf(metrics: readonly Metric[]): PanelSpec[] {
  const byName = new Map(metrics.map((metric) => [metric.name, metric]));
  const panels: PanelSpec[] = [];
  const placed = new Set<string>();
  for (const known of KNOWN) {
    const own = known.metrics.filter((name) => byName.has(name));
    const first = byName.get(own[0] ?? "");
    if (!first) continue;
    const limit = known.limit !== undefined && byName.has(known.limit) ? known.limit : null;
    for (const name of limit === null ? own : [...own, limit]) placed.add(name);
    panels.push({
      ...shell(first),
      ...known,
      metrics: own,
      words: known.words ?? [],
      limit,
      thresholds: known.thresholds ?? [],
    });
  }
  for (const metric of metrics) if (!placed.has(metric.name)) panels.push(shell(metric));
  const rank = (group: string) =>
    (GROUPS.findIndex(([name]) => name === group) + GROUPS.length + 1) % (GROUPS.length + 1);
  return panels
    .map((panel, index) => ({ panel, index }))
    .sort((a, b) => rank(a.panel.group) - rank(b.panel.group) || a.index - b.index)
    .map(({ panel }) => panel);
}

function shell(metric: Metric): PanelSpec {
  const words = metric.name.replaceAll("_", " ");
  return {
    id: metric.name,
    title: words.charAt(0).toUpperCase() + words.slice(1),
    group: metric.group,
    unit: metric.unit,
    help: metric.help,
    metrics: [metric.name],
    words: [],
    limit: null,
    thresholds: [],
  };
}
