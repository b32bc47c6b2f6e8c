/** Devices, their newest samples, and alerts. */
import { queryOptions } from "@tanstack/react-query";
import { ApiError, getJson } from "./client";

export interface DeviceProcess {
  pid: number;
  account: string;
  command: string;
  owner: string;
  memory_used_bytes: number | null;
}

export interface Device {
  client: string;
  device: string;
  kind: string;
  name: string;
  uuid: string;
  memory_total_bytes: number | null;
  parent: string;
  seen_at: number;
  processes: DeviceProcess[];
}

export interface LatestSeries {
  client: string;
  device: string;
  owner: string;
  values: Record<string, number | null>;
  at: number;
}

export interface Latest {
  at: number;
  series: LatestSeries[];
}

export interface Alert {
  rule: string;
  severity: "info" | "warning" | "critical";
  client: string | null;
  device: string | null;
  run: string | null;
  text: string;
  value: number | null;
  since: number;
  until: number | null;
}

export const devicesQuery = queryOptions({
  queryKey: ["profiler", "devices"],
  queryFn: async ({ signal }) => (await getJson<{ items: Device[] }>("profiler/devices", {}, signal)).items,
  refetchInterval: 15_000,
  retry: (count, error) => !(error instanceof ApiError) && count < 2,
});

export function latestQuery(metrics: readonly string[]) {
  return queryOptions({
    queryKey: ["profiler", "latest", metrics],
    queryFn: ({ signal }) => getJson<Latest>("profiler/latest", { metric: metrics }, signal),
    refetchInterval: 2_000,
    retry: (count, error) => !(error instanceof ApiError) && count < 2,
  });
}

export const alertsQuery = queryOptions({
  queryKey: ["alerts"],
  queryFn: async ({ signal }) => (await getJson<{ items: Alert[] }>("alerts", {}, signal)).items,
  refetchInterval: 5_000,
  retry: (count, error) => !(error instanceof ApiError) && count < 2,
});
