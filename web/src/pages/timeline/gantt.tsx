/** Slots by time. Drag to move, pinch or Ctrl and the wheel to zoom; arrow keys walk over the chunks, Enter opens one. */
import { type KeyboardEvent, type PointerEvent, type UIEvent, useEffect, useRef, useState } from "react";
import { useTheme } from "@/app/theme";
import { useWidth } from "@/lib/use-width";
import { AXIS, drawGantt, ROW, type Scene } from "./draw";
import { drawStack, STACK } from "./draw-stack";
import { GanttTip } from "./gantt-tip";
import { type Bar, barAt, barText, type Gantt as Model, isStep, walked } from "./model";
import css from "./timeline.module.css";
import type { Strips } from "./use-strips";
import type { Moving } from "./use-view";
import { panned, revealed, type View, zoomed } from "./view";

interface GanttProps {
  gantt: Model;
  moving: Moving;
  strips: Strips;
  only: string;
  selected: string | null;
  label: string;
  onSelect(key: string | null): void;
  onOpen(bar: Bar): void;
}

const HEIGHT_MAX = 520;
const HIT_PX = 4;
const NARROW_PX = 560;
const ZOOM_KEYS: Readonly<Record<string, number>> = { "+": 0.5, "=": 0.5, "-": 2 };

export function Gantt({ gantt, moving, strips, only, selected, label, onSelect, onOpen }: GanttProps) {
  const { view, now, move } = moving;
  const theme = useTheme();
  const [box, width] = useWidth<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const stack = useRef<HTMLCanvasElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const drag = useRef<{ x: number; moved: boolean } | null>(null);
  const [scrollTop, setScrollTop] = useState(0);
  const [pointed, setPointed] = useState<{ bar: Bar; x: number; y: number } | null>(null);
  const gutter = width < NARROW_PX ? 64 : 104;
  const total = AXIS + gantt.rows.length * ROW + 4;
  const height = Math.min(HEIGHT_MAX, total);
  const scene: Scene = {
    ...{ gantt, view, width, height, gutter, scrollTop, now, theme, selected, only },
    pointed: pointed?.bar.key ?? null,
    strips: strips.bySlot,
  };

  useEffect(() => {
    if (canvas.current && width > 0) drawGantt(canvas.current, scene);
    if (stack.current && width > 0) drawStack(stack.current, scene, strips.mean);
  });

  useEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    // Only a listener that is not passive may keep the browser from zooming the whole page.
    const turn = (event: WheelEvent) => wheeled(event, element, gutter, move);
    element.addEventListener("wheel", turn, { passive: false });
    return () => element.removeEventListener("wheel", turn);
  }, [gutter, move]);

  const timeAt = (x: number) => view.from + ((x - gutter) / Math.max(1, width - gutter)) * (view.to - view.from);
  const find = (event: PointerEvent): Bar | null => {
    const frame = event.currentTarget.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    if (x < gutter || y < AXIS) return null;
    const row = gantt.rows[Math.floor((y - AXIS + scrollTop) / ROW)];
    return row ? barAt(row.bars, timeAt(x), timeAt(HIT_PX) - timeAt(0)) : null;
  };
  const pointerMove = (event: PointerEvent) => {
    if (drag.current) {
      const shift = event.clientX - drag.current.x;
      if (!drag.current.moved && Math.abs(shift) < HIT_PX) return;
      drag.current = { x: event.clientX, moved: true };
      setPointed(null);
      move((one) => panned(one, (-shift / Math.max(1, width - gutter)) * (one.to - one.from)));
      return;
    }
    const frame = event.currentTarget.getBoundingClientRect();
    const bar = find(event);
    setPointed(bar && { bar, x: event.clientX - frame.left, y: event.clientY - frame.top });
  };
  const pointerUp = (event: PointerEvent) => {
    if (drag.current && !drag.current.moved) {
      const bar = find(event);
      if (bar && bar.key === selected) onOpen(bar);
      else onSelect(bar?.key ?? null);
    }
    drag.current = null;
  };
  const keyDown = (event: KeyboardEvent) => {
    const factor = ZOOM_KEYS[event.key];
    const current = selected === null ? null : (gantt.byKey.get(selected) ?? null);
    if (isStep(event.key)) {
      event.preventDefault();
      setPointed(null);
      const next = walked(gantt, current, event.key);
      if (!next) return;
      onSelect(next.key);
      move((one) => revealed(one, next.from, next.to ?? now));
      const top = next.row * ROW;
      const visible = height - AXIS - ROW;
      if (scroller.current && (top < scrollTop || top > scrollTop + visible))
        scroller.current.scrollTop = top < scrollTop ? top : top - visible;
    } else if (factor !== undefined) {
      const middle = current ? (current.from + (current.to ?? now)) / 2 : (view.from + view.to) / 2;
      move((one) => zoomed(one, factor, middle));
    } else if (event.key === "Enter" && current) onOpen(current);
    else if (event.key === "Escape") onSelect(null);
  };

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
            onPointerDown={(event) => {
              drag.current = { x: event.clientX, moved: false };
              event.currentTarget.setPointerCapture(event.pointerId);
            }}
            onPointerMove={pointerMove}
            onPointerUp={pointerUp}
            onPointerCancel={() => (drag.current = null)}
            onPointerLeave={() => setPointed(null)}
            onKeyDown={keyDown}
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

/** Ctrl (as pinching does) zooms where the pointer is, Shift and sideways moves; the rest scrolls as ever. */
function wheeled(
  event: WheelEvent,
  element: HTMLElement,
  gutter: number,
  move: (change: (view: View) => View) => void,
): void {
  const frame = element.getBoundingClientRect();
  const share = (event.clientX - frame.left - gutter) / Math.max(1, frame.width - gutter);
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    move((view) => zoomed(view, Math.exp(event.deltaY * 0.004), view.from + share * (view.to - view.from)));
    return;
  }
  const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
  if (sideways === 0 || (!event.shiftKey && Math.abs(event.deltaX) < Math.abs(event.deltaY))) return;
  event.preventDefault();
  move((view) => panned(view, (sideways / Math.max(1, frame.width - gutter)) * (view.to - view.from)));
}
