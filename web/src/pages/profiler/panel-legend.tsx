import { cx } from "@/lib/cx";
import type { LegendLine } from "./chart-model";
import css from "./profiler.module.css";
import { formatValue } from "./units";

interface PanelLegendProps {
  legend: readonly LegendLine[];
  unit: string;
  isolated: readonly string[];
  /** With figures of every line. */
  full: boolean;
  onIsolate(keys: readonly string[]): void;
  onHighlight(key: string | null): void;
}

/** Press a line to see it alone, press it again to see all; with Shift or Ctrl it joins the others. */
export function PanelLegend({ legend, unit, isolated, full, onIsolate, onHighlight }: PanelLegendProps) {
  const press = (series: string, joins: boolean) => {
    const isOn = isolated.includes(series);
    if (joins) onIsolate(isOn ? isolated.filter((one) => one !== series) : [...isolated, series]);
    else onIsolate(isOn && isolated.length === 1 ? [] : [series]);
  };
  return (
    <ul className={cx(css.legend, full && css.legendFull)} onMouseLeave={() => onHighlight(null)}>
      {legend.map((line) => (
        <li key={line.key}>
          <button
            type="button"
            className={cx(css.legendLine, !line.isShown && css.legendOff)}
            aria-pressed={isolated.includes(line.series)}
            onClick={(event) => press(line.series, event.shiftKey || event.ctrlKey || event.metaKey)}
            onMouseEnter={() => line.isShown && onHighlight(line.key)}
            onFocus={() => line.isShown && onHighlight(line.key)}
            onBlur={() => onHighlight(null)}
          >
            <svg width="14" height="8" aria-hidden>
              <line
                x1="0"
                y1="4"
                x2="14"
                y2="4"
                stroke={line.color}
                strokeWidth="2"
                strokeDasharray={line.dash.join(" ")}
              />
            </svg>
            <span className={css.legendName}>{line.label}</span>
            <Figures line={line} unit={unit} full={full} />
          </button>
        </li>
      ))}
    </ul>
  );
}

function Figures({ line, unit, full }: { line: LegendLine; unit: string; full: boolean }) {
  const { last, mean, min, max } = line.figures;
  if (last === null) return <span className={css.figure}>n/a</span>;
  if (!full) return <span className={css.figure}>{formatValue(last, unit)}</span>;
  return (
    <>
      <span className={css.figure}>last {formatValue(last, unit)}</span>
      <span className={css.figure}>mean {formatValue(mean, unit)}</span>
      <span className={css.figure}>min {formatValue(min, unit)}</span>
      <span className={css.figure}>max {formatValue(max, unit)}</span>
    </>
  );
}
