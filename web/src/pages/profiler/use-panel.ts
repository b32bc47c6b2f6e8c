/** What a panel shows: asked for while it is in sight, kept while something newer comes. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { type Device, latestQuery } from "@/api/profiler";
import { answerQuery } from "@/api/profiler-query";
import { useTheme } from "@/app/theme";
import { type ChartModel, chartModel } from "./chart-model";
import type { PanelSpec } from "./panels";
import { wishOf } from "./selection";
import type { ProfilerState } from "./use-state";

const POINTS = 400;
const POINTS_BIG = 1200;

export interface PanelData {
  readonly model: ChartModel | null;
  readonly range: readonly [number, number] | null;
  readonly note: string | null;
  readonly error: Error | null;
  readonly isFetching: boolean;
}

export function usePanel(
  panel: PanelSpec,
  state: ProfilerState,
  devices: readonly Device[] | undefined,
  isSeen: boolean,
  isBig: boolean,
): PanelData {
  const theme = useTheme();
  const { selection, isolated, range, refreshMs } = state;
  const isTop = selection.aggregate === "top";
  const { data: latest } = useQuery({ ...latestQuery(panel.metrics), enabled: isSeen && isTop });
  const asked = useMemo(
    () => wishOf(panel, selection, devices ?? [], latest, isBig ? POINTS_BIG : POINTS),
    [panel, selection, devices, latest, isBig],
  );
  const query = useQuery({
    ...answerQuery(range, asked.wish, refreshMs),
    enabled: isSeen && devices !== undefined && (!isTop || latest !== undefined),
  });
  const own = state.thresholds[panel.id] ?? null;
  const answer = query.data;
  const { only, note } = asked;
  const model = useMemo(
    () => (answer ? chartModel(panel, answer, only, isolated, own, theme) : null),
    [panel, answer, only, isolated, own, theme],
  );
  const shown = useMemo(() => (answer ? ([answer.from, answer.to] as const) : null), [answer]);
  return { model, range: shown, note, error: query.error, isFetching: query.isFetching };
}
