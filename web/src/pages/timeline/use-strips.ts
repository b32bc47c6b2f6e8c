/** How busy the devices behind the slots were, as their sensors say; how much a slot trained where it has no GPU. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { type Answer, answerQuery } from "@/api/profiler-query";
import type { SlotRow } from "@/api/timeline";
import type { TimeRange } from "@/lib/time-range";
import type { Strip } from "./draw";

/** With more slots than this only their mean is shown. */
export const STRIPS_MAX = 96;
const POINTS = 240;
const REFRESH_MS = 5000;

export interface Strips {
  readonly bySlot: ReadonlyMap<string, Strip>;
  readonly mean: Strip | undefined;
  /** What is measured. */
  readonly label: string;
}

export function useStrips(range: TimeRange, slots: readonly SlotRow[]): Strips {
  const hasGpus = slots.some((slot) => slot.device.startsWith("gpu:"));
  const metric = hasGpus ? "gpu_utilization" : "train_share";
  const wish = { metrics: [metric], points: POINTS };
  const isOn = slots.length > 0;
  const { data: each } = useQuery({
    ...answerQuery(range, { ...wish, aggregate: "none" }, REFRESH_MS),
    enabled: isOn && slots.length <= STRIPS_MAX,
  });
  const { data: all } = useQuery({
    ...answerQuery(range, { ...wish, aggregate: "mean", by: "all" }, REFRESH_MS),
    enabled: isOn,
  });
  return useMemo(
    () => ({
      bySlot: stripsOf(slots.length <= STRIPS_MAX ? each : undefined),
      mean: all?.series[0],
      label: hasGpus ? "Mean GPU utilisation" : "Mean share of training and evaluation",
    }),
    [each, all, hasGpus, slots.length],
  );
}

function stripsOf(answer: Answer | undefined): ReadonlyMap<string, Strip> {
  const own = (answer?.series ?? []).filter((line) => line.owner === "");
  return new Map(own.map((line) => [`${line.client}/${line.device}`, line]));
}
