import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { fetchCurves, type KnownCurves, liveRuns, noted } from "@/api/curves";
import type { RunView } from "@/api/runs";

const LIVE_MS = 2000;
/** So many points are drawn in all; each run gets its share. */
const POINTS_IN_ALL = 60_000;

/** A metric of the runs; it grows while some of them train. Events do not tell of single steps, so it is asked for. */
export function useCurves(
  experiment: string,
  metric: string,
  runs: readonly RunView[],
  steps: readonly [number, number] | null,
): { data: KnownCurves | undefined; isPending: boolean } {
  const client = useQueryClient();
  const points = Math.max(100, Math.min(2000, Math.round(POINTS_IN_ALL / Math.max(1, runs.length) / 100) * 100));
  const queryKey = ["curves", experiment, metric, points, steps];
  const { data, isPending } = useQuery({
    queryKey,
    queryFn: async ({ signal }) => {
      const old = client.getQueryData<KnownCurves>(queryKey);
      const known = client.getQueryData<readonly RunView[]>(["run-list", experiment]) ?? runs;
      const onPart = (view: KnownCurves) => client.setQueryData(queryKey, view);
      const live = liveRuns(old, known);
      return noted(await fetchCurves({ experiment, metric, points, steps }, old, live, signal, onPart), live, known);
    },
    enabled: metric !== "" && runs.length > 0,
    staleTime: 0,
    refetchInterval: (query) => (liveRuns(query.state.data, runs).length > 0 ? LIVE_MS : false),
    placeholderData: keepPreviousData,
    structuralSharing: false,
  });
  return { data, isPending };
}
