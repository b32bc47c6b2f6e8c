/** One panel: a chart of one metric, or of two that belong together, with its legend and its downloads. */
import { Download, Maximize2, Minimize2 } from "lucide-react";
import { useCallback, useMemo, useRef, useState } from "react";
import type { Device } from "@/api/profiler";
import type { Note } from "@/api/profiler-query";
import { useTheme } from "@/app/theme";
import { download } from "@/lib/download";
import { formatTime } from "@/lib/format";
import { fixedRange, zoomedOut } from "@/lib/time-range";
import { cx } from "@/lib/cx";
import { enterFullScreen, useFullScreen, useWindowHeight } from "@/lib/use-full-screen";
import { useSeen } from "@/lib/use-seen";
import { Button } from "@/ui/button";
import { LineChart } from "@/ui/chart/line-chart";
import { Menu } from "@/ui/menu";
import { ErrorNotice } from "@/ui/notice";
import { Panel } from "@/ui/panel";
import { type ChartModel, isCounted, marksOf } from "./chart-model";
import { csvOf } from "./csv";
import { PanelLegend } from "./panel-legend";
import type { PanelSpec } from "./panels";
import { downloadPng } from "./png";
import css from "./profiler.module.css";
import { ThresholdField } from "./threshold-field";
import { formatTick, formatValue } from "./units";
import { usePanel } from "./use-panel";
import type { ProfilerState } from "./use-state";

interface PanelCardProps {
  panel: PanelSpec;
  state: ProfilerState;
  devices: readonly Device[] | undefined;
  notes: readonly Note[];
  /** It fills the page. */
  big?: boolean;
}

const HEIGHT = 180;
const BIG_REST_PX = 380;
const FULL_REST_PX = 300;
const SYNC = "profiler";

export function PanelCard({ panel, state, devices, notes, big = false }: PanelCardProps) {
  const [box, isSeen] = useSeen<HTMLDivElement>();
  const chart = useRef<HTMLDivElement>(null);
  const [highlighted, setHighlighted] = useState<string | null>(null);
  const theme = useTheme();
  const { model, range, note, error, isFetching } = usePanel(panel, state, devices, isSeen || big, big);
  const marks = useMemo(() => marksOf(notes, state.notes, range, theme), [notes, state.notes, range, theme]);
  const { unit } = panel;
  const { setPanel } = state;
  const leave = useCallback(() => setPanel(""), [setPanel]);
  const isFull = useFullScreen(big, leave);
  const windowHeight = useWindowHeight();
  // What the window leaves beside the head and the legend, and where it does not fill the screen beside the page's own head.
  const height = big ? Math.max(260, windowHeight - (isFull ? FULL_REST_PX : BIG_REST_PX)) : HEIGHT;
  const toggle = () => {
    setPanel(big ? "" : panel.id);
    if (!big) enterFullScreen();
  };
  const name = `${panel.id}-${range ? new Date(range[0] * 1000).toISOString().slice(0, 19).replaceAll(":", "") : ""}`;
  const saveCsv = () => model && download(`${name}.csv`, new Blob([csvOf(model.shown)], { type: "text/csv" }));
  const savePng = () => {
    const canvas = chart.current?.querySelector("canvas");
    if (canvas && model) downloadPng(`${name}.png`, panel.title, canvas, model.legend);
  };
  return (
    <div ref={box} className={cx(css.card, isFull && css.full)} data-panel={panel.id} aria-busy={isFetching}>
      <Panel
        title={panel.title}
        flush
        note={big ? panel.help : undefined}
        actions={
          <>
            {big && <ThresholdField panel={panel} state={state} />}
            <Menu
              trigger={
                <Button kind="ghost" label={`Download ${panel.title}`}>
                  <Download size={14} aria-hidden />
                </Button>
              }
              entries={[
                { label: "Values as CSV", onSelect: saveCsv },
                { label: "Picture as PNG", onSelect: savePng },
              ]}
            />
            <Button
              kind="ghost"
              label={big ? "Back to all panels" : `${panel.title} over the whole screen`}
              onClick={toggle}
            >
              {big ? <Minimize2 size={14} aria-hidden /> : <Maximize2 size={14} aria-hidden />}
            </Button>
          </>
        }
      >
        {error && !model && <ErrorNotice error={error} />}
        {note && <p className={css.note}>{note}</p>}
        <div ref={chart} className={css.chart} style={{ minHeight: height }}>
          {model && range && (
            <Chart
              {...{ panel, model, range, marks, highlighted }}
              height={height}
              onRange={(next) =>
                state.setRange(next ? fixedRange(next[0], next[1]) : zoomedOut(state.range, Date.now() / 1000))
              }
              onHighlight={setHighlighted}
            />
          )}
        </div>
        {model && (
          <PanelLegend
            legend={model.legend}
            unit={unit}
            isolated={state.isolated}
            full={big}
            onIsolate={state.setIsolated}
            onHighlight={setHighlighted}
          />
        )}
      </Panel>
    </div>
  );
}

interface ChartProps {
  panel: PanelSpec;
  model: ChartModel;
  range: readonly [number, number];
  marks: ReturnType<typeof marksOf>;
  highlighted: string | null;
  height: number;
  onRange(range: readonly [number, number] | null): void;
  onHighlight(key: string | null): void;
}

function Chart({ panel, model, range, marks, highlighted, height, onRange, onHighlight }: ChartProps) {
  if (model.legend.length === 0) return <p className={css.nothing}>No data in this range</p>;
  if (model.shown.length === 0) return <p className={css.nothing}>n/a: no sensor here has an answer</p>;
  return (
    <LineChart
      label={`${panel.title}: ${panel.help}. ${model.legend
        .slice(0, 8)
        .map(
          (line) => `${line.label} ${line.figures.last === null ? "n/a" : formatValue(line.figures.last, panel.unit)}`,
        )
        .join(", ")}`}
      data={model.data}
      lines={model.lines}
      height={height}
      timeX
      binaryY={panel.unit.startsWith("bytes")}
      wholeY={isCounted(panel)}
      range={range}
      rangeY={model.rangeY}
      onRange={onRange}
      highlighted={highlighted}
      onHighlight={onHighlight}
      marks={marks}
      thresholds={model.thresholds}
      syncKey={SYNC}
      formatX={formatTime}
      formatY={(value) => formatValue(value, panel.unit)}
      tickY={(value, step) => formatTick(value, panel.unit, step)}
    />
  );
}
