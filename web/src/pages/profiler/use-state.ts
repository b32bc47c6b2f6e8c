/** All that the profiler shows is said by its address. */
import { useMemo } from "react";
import type { By, NoteKind } from "@/api/profiler-query";
import { type TimeRange, timeRangeCodec } from "@/lib/time-range";
import { type Codec, listCodec, textCodec, useUrlState } from "@/lib/url-state";
import type { Gathering, Selection } from "./selection";
import { THRESHOLDS } from "./thresholds";

export type Refresh = "off" | "1" | "5" | "15";
export type Tab = "charts" | "sessions";

const RANGE = timeRangeCodec("15m");
const REFRESH = textCodec<Refresh>("5", ["off", "1", "5", "15"]);
const GATHERING = textCodec<Gathering>("none", ["none", "mean", "max", "min", "sum", "top"]);
const BY = textCodec<By>("device", ["device", "client", "run", "all"]);
const TAB = textCodec<Tab>("charts", ["charts", "sessions"]);
const TEXT = textCodec<string>("");
const KINDS: readonly NoteKind[] = ["op", "failure", "client"];
/** `-` is no kind at all. */
const NOTES: Codec<readonly string[]> = {
  read: (text) => (text === null ? KINDS : text === "-" ? [] : listCodec.read(text)),
  write: (kinds) => (kinds.join() === KINDS.join() ? null : kinds.length === 0 ? "-" : kinds.join(",")),
};
export interface ProfilerState {
  readonly range: TimeRange;
  setRange(range: TimeRange): void;
  readonly refresh: Refresh;
  setRefresh(refresh: Refresh): void;
  readonly refreshMs: number | false;
  readonly selection: Selection;
  setClients(names: readonly string[]): void;
  setGpus(names: readonly string[]): void;
  setRuns(names: readonly string[]): void;
  setOwners(names: readonly string[]): void;
  setGathering(gathering: Gathering): void;
  setBy(by: By): void;
  /** Series that are shown alone, in every panel; empty is all. */
  readonly isolated: readonly string[];
  setIsolated(keys: readonly string[]): void;
  readonly notes: readonly string[];
  setNotes(kinds: readonly string[]): void;
  readonly thresholds: Readonly<Record<string, number>>;
  setThresholds(values: Readonly<Record<string, number>>): void;
  readonly closed: readonly string[];
  setClosed(groups: readonly string[]): void;
  /** The panel that fills the page, or "". */
  readonly panel: string;
  setPanel(id: string): void;
  readonly tab: Tab;
  setTab(tab: Tab): void;
}

export function useProfilerState(): ProfilerState {
  // A zoom is a step that the browser's Back takes back.
  const [range, setRange] = useUrlState("range", RANGE, true);
  const [refresh, setRefresh] = useUrlState("refresh", REFRESH);
  const [clients, setClients] = useUrlState("client", listCodec);
  const [gpus, setGpus] = useUrlState("gpu", listCodec);
  const [runs, setRuns] = useUrlState("run", listCodec);
  const [owners, setOwners] = useUrlState("owner", listCodec);
  const [aggregate, setGathering] = useUrlState("agg", GATHERING);
  const [by, setBy] = useUrlState("by", BY);
  const [isolated, setIsolated] = useUrlState("only", listCodec);
  const [notes, setNotes] = useUrlState("notes", NOTES);
  const [thresholds, setThresholds] = useUrlState("limits", THRESHOLDS);
  const [closed, setClosed] = useUrlState("closed", listCodec);
  const [panel, setPanel] = useUrlState("panel", TEXT, true);
  const [tab, setTab] = useUrlState("view", TAB, true);
  const selection = useMemo(
    () => ({ clients, gpus, runs, owners, aggregate, by }),
    [clients, gpus, runs, owners, aggregate, by],
  );
  return {
    ...{
      range,
      setRange,
      refresh,
      setRefresh,
      selection,
      setClients,
      setGpus,
      setRuns,
      setOwners,
      setGathering,
      setBy,
    },
    ...{
      isolated,
      setIsolated,
      notes,
      setNotes,
      thresholds,
      setThresholds,
      closed,
      setClosed,
      panel,
      setPanel,
      tab,
      setTab,
    },
    refreshMs: refresh === "off" ? false : Number(refresh) * 1000,
  };
}
