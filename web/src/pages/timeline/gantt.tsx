/** Slots by time. Drag to move, pinch or Ctrl and the wheel to zoom; arrow keys walk over the chunks, Enter opens one. */
import { type UIEvent, useEffect, useRef, useState } from "react";
import { useTheme } from "@/app/theme";
import { useWidth } from "@/lib/use-width";
import { AXIS, drawGantt, ROW, type Scene } from "./draw";
import { drawStack, STACK } from "./draw-stack";
import { GanttTip } from "./gantt-tip";
import { type Bar, barText, type Focus, type Gantt as Model } from "./model";
import css from "./timeline.module.css";
import { useGanttInput } from "./use-gantt-input";
import type { Strips } from "./use-strips";
import type { Moving } from "./use-view";

interface GanttProps {
  gantt: Model;
  moving: Moving;
  strips: Strips;
  focus: Focus;
  selected: string | null;
  label: string;
  onSelect(key: string | null): void;
  onOpen(bar: Bar): void;
}

const HEIGHT_MAX = 520;
const NARROW_PX = 560;

export function Gantt({ gantt, moving, strips, focus, selected, label, onSelect, onOpen }: GanttProps) {
  const { view, now } = moving;
  const theme = useTheme();
  const [box, width] = useWidth<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const stack = useRef<HTMLCanvasElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const [scrollTop, setScrollTop] = useState(0);
  const gutter = width < NARROW_PX ? 64 : 104;
  const total = AXIS + gantt.rows.length * ROW + 4;
  const height = Math.min(HEIGHT_MAX, total);
  const { pointed, handlers } = useGanttInput({
    ...{ gantt, moving, selected, width, height, gutter, scrollTop, scroller, onSelect, onOpen },
  });
  const scene: Scene = {
    ...{ gantt, view, width, height, gutter, scrollTop, now, theme, selected, focus },
    pointed: pointed?.bar.key ?? null,
    strips: strips.bySlot,
  };

  useEffect(() => {
    if (canvas.current && width > 0) drawGantt(canvas.current, scene);
    if (stack.current && width > 0) drawStack(stack.current, scene, strips.mean);
  });

  const current = selected === null ? undefined : gantt.byKey.get(selected);
  return (
    <div ref={box} className={css.gantt}>
      <div
        ref={scroller}
        className={css.scroller}
        style={{ height }}
        onScroll={(event: UIEvent<HTMLDivElement>) => setScrollTop(event.currentTarget.scrollTop)}
      >
        <div style={{ height: total }}>
          <canvas
            ref={canvas}
            className={css.canvas}
            role="application"
            aria-label={`${label}. Arrow keys walk over the chunks, Enter opens one, plus and minus zoom.`}
            tabIndex={0}
            {...handlers}
          />
        </div>
      </div>
      <canvas
        ref={stack}
        className={css.stack}
        style={{ height: STACK }}
        role="img"
        aria-label={`What all slots did, and their ${strips.label.toLowerCase()}`}
      />
      {pointed && <GanttTip bar={pointed.bar} x={pointed.x} y={pointed.y} width={width} now={now} />}
      <span role="status" className="visually-hidden">
        {current && barText(current, now)}
      </span>
    </div>
  );
}
