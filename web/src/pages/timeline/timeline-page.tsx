/** Which slot trained which run when, of one experiment or of the whole cluster. */
import { useQuery } from "@tanstack/react-query";
import { Minus, Plus, Radio } from "lucide-react";
import { useMemo } from "react";
import { useNavigate } from "react-router";
import { experimentsQuery } from "@/api/experiments";
import { timelineRangeQuery } from "@/api/timeline";
import { Page } from "@/app/page";
import { timeRangeCodec } from "@/lib/time-range";
import { type Codec, textCodec, useUrlState } from "@/lib/url-state";
import { Button } from "@/ui/button";
import { Select } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import { Empty, Panel } from "@/ui/panel";
import { TimeRangePicker } from "@/ui/time-range/time-range-picker";
import { ChunkPanel } from "./chunk-panel";
import { Gantt } from "./gantt";
import { Legend } from "./legend";
import { added, type Focus, ganttOf, isInFocus, NOTHING, rowShares, summaryText } from "./model";
import { SlotTable } from "./slot-table";
import css from "./timeline.module.css";
import { useFreshTimeline } from "./use-fresh";
import { useStrips } from "./use-strips";
import { useView } from "./use-view";
import { zoomed } from "./view";

const RANGE = timeRangeCodec("30m");
const TEXT = textCodec<string>("");
const CHUNK: Codec<string | null> = { read: (text) => text, write: (key) => key };
const ALL = { value: "", label: "All" };

export function Component() {
  const navigate = useNavigate();
  const [range, setRange] = useUrlState("range", RANGE);
  const [experiment, setExperiment] = useUrlState("experiment", TEXT);
  const [only, setOnly] = useUrlState("run", TEXT);
  const [selected, setSelected] = useUrlState("chunk", CHUNK);
  const { data: experiments = [] } = useQuery(experimentsQuery);
  // All chunks, whatever the page is about: a slot that trains another experiment is not idle.
  const { data, error } = useQuery(timelineRangeQuery(range, ""));
  useFreshTimeline();
  const focus = useMemo((): Focus => {
    const found = experiments.find((one) => one.id === experiment || one.name === experiment);
    return { experiment: found?.id ?? experiment, run: only };
  }, [experiments, experiment, only]);
  // Where others have more chunks than fit into an answer, its own are asked for.
  const { data: own } = useQuery({
    ...timelineRangeQuery(range, focus.experiment),
    enabled: data !== undefined && !data.complete && focus.experiment !== "",
  });
  const isCut = data !== undefined && !data.complete;
  const gantt = useMemo(() => ganttOf(data, isCut ? own : undefined), [data, own, isCut]);
  const moving = useView(range, setRange);
  const strips = useStrips(range, gantt.rows);
  const { view, rest, now, move } = moving;
  const shares = useMemo(
    () => gantt.rows.map((row) => rowShares(row, rest.from, rest.to, now)).reduce(added, NOTHING),
    [gantt, rest, now],
  );
  const runs = useMemo(() => {
    const bars = [...gantt.byKey.values()].filter((bar) => isInFocus(bar, { ...focus, run: "" }));
    return [...new Set([...bars.map((bar) => bar.run), ...(only ? [only] : [])])].sort(byNumber);
  }, [gantt, focus, only]);
  const table = useMemo(() => <SlotTable gantt={gantt} view={rest} now={now} />, [gantt, rest, now]);
  const bar = selected === null ? undefined : gantt.byKey.get(selected);
  const summary = data ? summaryText(gantt, shares, focus) : "";
  const zoom = (factor: number) => move((one) => zoomed(one, factor, (one.from + one.to) / 2));
  return (
    <Page
      title="Timeline"
      actions={
        <>
          <Select
            label="Experiment"
            value={experiment}
            choices={[ALL, ...experiments.map((one) => ({ value: one.id, label: one.name }))]}
            onChange={(next) => {
              setOnly("");
              setExperiment(next);
            }}
          />
          <Select
            label="Run"
            value={only}
            choices={[ALL, ...runs.map((run) => ({ value: run, label: run }))]}
            onChange={setOnly}
          />
          <TimeRangePicker range={range} onChange={setRange} />
        </>
      }
    >
      {error && !data && <ErrorNotice error={error} />}
      <Panel
        title="Slots by time"
        flush
        note={summary}
        actions={
          <>
            <Button label="Zoom in" onClick={() => zoom(0.5)}>
              <Plus size={16} aria-hidden />
            </Button>
            <Button label="Show more time" onClick={() => zoom(2)}>
              <Minus size={16} aria-hidden />
            </Button>
            <Button
              disabledReason={range.kind === "last" ? "It follows the present already" : null}
              onClick={() => setRange({ kind: "last", seconds: Math.max(60, Math.round(view.to - view.from)) })}
            >
              <Radio size={14} aria-hidden />
              Follow
            </Button>
          </>
        }
      >
        {isCut && (
          <p className={css.cut}>
            More chunks than can be shown: these are the newest 5,000
            {focus.experiment !== "" && ", and those of the chosen experiment"}. Zoom in for the others.
          </p>
        )}
        {gantt.rows.length > 0 ? (
          <>
            <Gantt
              gantt={gantt}
              moving={moving}
              strips={strips}
              focus={focus}
              selected={selected}
              label={`Slots by time: ${summary}`}
              onSelect={setSelected}
              onOpen={(one) => navigate(`/runs/${one.run}`)}
            />
            <Legend useLabel={strips.label} />
          </>
        ) : (
          data && <Empty title="No slot trained anything in this range" />
        )}
      </Panel>
      {bar && <ChunkPanel bar={bar} now={now} />}
      {gantt.rows.length > 0 && table}
    </Page>
  );
}

function byNumber(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}
