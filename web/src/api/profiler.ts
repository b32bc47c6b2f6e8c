/** Devices, their newest samples, and alerts. */
import { queryOptions } from "@tanstack/react-query";
import { ApiError, getJson } from "./client";
import type { AlertList, DeviceList, LatestView } from "./schema";

export type {
  AlertView as Alert,
  DeviceView as Device,
  LatestSeries,
  LatestView as Latest,
  ProcessView as DeviceProcess,
} from "./schema";

export const devicesQuery = queryOptions({
  queryKey: ["profiler", "devices"],
  queryFn: async ({ signal }) => (await getJson<DeviceList>("profiler/devices", {}, signal)).items,
  refetchInterval: 15_000,
  retry: (count, error) => !(error instanceof ApiError) && count < 2,
});

export function latestQuery(metrics: readonly string[]) {
  return queryOptions({
    queryKey: ["profiler", "latest", metrics],
    queryFn: ({ signal }) => getJson<LatestView>("profiler/latest", { metric: metrics }, signal),
    refetchInterval: 2_000,
    retry: (count, error) => !(error instanceof ApiError) && count < 2,
  });
}

export const alertListQuery = queryOptions({
  queryKey: ["alerts"],
  queryFn: ({ signal }) => getJson<AlertList>("alerts", {}, signal),
  refetchInterval: 5_000,
  retry: (count, error) => !(error instanceof ApiError) && count < 2,
});

export const alertsQuery = queryOptions({ ...alertListQuery, select: (list) => list.items });
