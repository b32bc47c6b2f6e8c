/** What every sensor said, by time; and the sessions that people keep of it. */
import { Page } from "@/app/page";
import { Segmented, Select } from "@/ui/field";
import { TimeRangePicker } from "@/ui/time-range/time-range-picker";
import { Charts } from "./charts";
import { Sessions } from "./sessions/sessions";
import { type Refresh, type Tab, useProfilerState } from "./use-state";

const TABS: readonly { value: Tab; label: string }[] = [
  { value: "charts", label: "Charts" },
  { value: "sessions", label: "Sessions" },
];
const REFRESHES: readonly { value: Refresh; label: string }[] = [
  { value: "off", label: "off" },
  { value: "1", label: "1 s" },
  { value: "5", label: "5 s" },
  { value: "15", label: "15 s" },
];

export function Component() {
  const state = useProfilerState();
  return (
    <Page
      title="Profiler"
      note={<Segmented label="View" value={state.tab} choices={TABS} onChange={state.setTab} />}
      actions={
        state.tab === "charts" && (
          <>
            <TimeRangePicker range={state.range} onChange={state.setRange} />
            <Select label="Refresh" value={state.refresh} choices={REFRESHES} onChange={state.setRefresh} />
          </>
        )
      }
    >
      {state.tab === "charts" ? <Charts state={state} /> : <Sessions />}
    </Page>
  );
}
