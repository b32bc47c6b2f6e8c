/** What a pointer, a wheel and keys do to the Gantt. */
import { type KeyboardEvent, type PointerEvent, type RefObject, useEffect, useRef, useState } from "react";
import { AXIS, ROW } from "./draw";
import { type Bar, barAt, type Gantt, isStep, type Step, walked } from "./model";
import type { Moving } from "./use-view";
import { panned, revealed, type View, zoomed } from "./view";

interface GanttInput {
  gantt: Gantt;
  moving: Moving;
  selected: string | null;
  /** In pixels; `gutter` is what the slots' names take of the width. */
  width: number;
  height: number;
  gutter: number;
  scrollTop: number;
  scroller: RefObject<HTMLDivElement | null>;
  onSelect(key: string | null): void;
  onOpen(bar: Bar): void;
}

export interface Pointed {
  readonly bar: Bar;
  readonly x: number;
  readonly y: number;
}

const HIT_PX = 4;
const ZOOM_KEYS: Readonly<Record<string, number>> = { "+": 0.5, "=": 0.5, "-": 2 };

export function useGanttInput(input: GanttInput) {
  const [pointed, setPointed] = useState<Pointed | null>(null);
  useWheel(input);
  const pointer = usePointer(input, setPointed);
  const onKeyDown = (event: KeyboardEvent) => {
    const { gantt, moving, selected, onSelect, onOpen } = input;
    const factor = ZOOM_KEYS[event.key];
    const current = selected === null ? null : (gantt.byKey.get(selected) ?? null);
    if (isStep(event.key)) {
      event.preventDefault();
      setPointed(null);
      walk(input, current, event.key);
    } else if (factor !== undefined) {
      const { view, now, move } = moving;
      const middle = current ? (current.from + (current.to ?? now)) / 2 : (view.from + view.to) / 2;
      move((one) => zoomed(one, factor, middle));
    } else if (event.key === "Enter" && current) onOpen(current);
    else if (event.key === "Escape") onSelect(null);
  };
  return { pointed, handlers: { ...pointer, onKeyDown } };
}

/** Chooses the chunk where the key leads, and brings it into sight. */
function walk(input: GanttInput, current: Bar | null, step: Step): void {
  const { gantt, moving, height, scrollTop, scroller, onSelect } = input;
  const next = walked(gantt, current, step);
  if (!next) return;
  onSelect(next.key);
  moving.move((one) => revealed(one, next.from, next.to ?? moving.now));
  const top = next.row * ROW;
  const visible = height - AXIS - ROW;
  if (scroller.current && (top < scrollTop || top > scrollTop + visible))
    scroller.current.scrollTop = top < scrollTop ? top : top - visible;
}

/** Dragging moves the view; a press without it chooses what is there, and opens what was chosen already. */
function usePointer(input: GanttInput, setPointed: (pointed: Pointed | null) => void) {
  const { gantt, moving, selected, width, gutter, scrollTop, onSelect, onOpen } = input;
  const { view, move } = moving;
  const drag = useRef<{ x: number; moved: boolean } | null>(null);
  const scale = (view.to - view.from) / Math.max(1, width - gutter);
  const find = (event: PointerEvent): Pointed | null => {
    const frame = event.currentTarget.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    const row = x < gutter || y < AXIS ? undefined : gantt.rows[Math.floor((y - AXIS + scrollTop) / ROW)];
    const bar = row ? barAt(row.bars, view.from + (x - gutter) * scale, HIT_PX * scale) : null;
    return bar && { bar, x, y };
  };
  return {
    onPointerDown: (event: PointerEvent) => {
      drag.current = { x: event.clientX, moved: false };
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event: PointerEvent) => {
      if (!drag.current) return setPointed(find(event));
      const shift = event.clientX - drag.current.x;
      if (!drag.current.moved && Math.abs(shift) < HIT_PX) return;
      drag.current = { x: event.clientX, moved: true };
      setPointed(null);
      move((one) => panned(one, -shift * scale));
    },
    onPointerUp: (event: PointerEvent) => {
      if (drag.current && !drag.current.moved) {
        const bar = find(event)?.bar;
        if (bar && bar.key === selected) onOpen(bar);
        else onSelect(bar?.key ?? null);
      }
      drag.current = null;
    },
    onPointerCancel: () => {
      drag.current = null;
    },
    onPointerLeave: () => setPointed(null),
  };
}

function useWheel({ scroller, gutter, moving: { move } }: GanttInput): void {
  useEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    // Only a listener that is not passive may keep the browser from zooming the whole page.
    const turn = (event: WheelEvent) => wheeled(event, element, gutter, move);
    element.addEventListener("wheel", turn, { passive: false });
    return () => element.removeEventListener("wheel", turn);
  }, [scroller, gutter, move]);
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
