/** Up to some thousand values as colours: point at a cell, or walk with the arrow keys; Enter opens it. */
import { type KeyboardEvent, type MouseEvent, useEffect, useMemo, useRef, useState } from "react";
import { useTheme } from "@/app/theme";
import { useWidth } from "@/lib/use-width";
import { draw, SCALE } from "./draw";
import css from "./heat.module.css";
import { cellAt, type HeatGroup, layoutHeat, type Placed } from "./layout";

interface HeatMapProps {
  label: string;
  groups: readonly HeatGroup[];
  heightMax?: number;
  onOpen?(group: HeatGroup, cell: Placed["cell"]): void;
}

export function HeatMap({ label, groups, heightMax = 420, onOpen }: HeatMapProps) {
  const theme = useTheme();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [box, width] = useWidth<HTMLDivElement>();
  const [at, setAt] = useState(-1);
  const layout = useMemo(() => layoutHeat(groups, Math.max(1, width), heightMax), [groups, width, heightMax]);
  const current = layout.cells[at];

  useEffect(() => {
    if (canvas.current && width > 0) draw(canvas.current, layout, width, theme, at);
  }, [layout, width, theme, at]);

  const locate = (event: MouseEvent) => {
    const frame = event.currentTarget.getBoundingClientRect();
    return cellAt(layout, event.clientX - frame.left, event.clientY - frame.top);
  };
  const open = (index: number) => {
    const found = layout.cells[index];
    if (found) onOpen?.(found.group, found.cell);
  };
  const walk = (event: KeyboardEvent) => {
    const last = layout.cells.length - 1;
    const moves: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    const move = moves[event.key];
    if (move !== undefined) {
      event.preventDefault();
      setAt((now) => Math.max(0, Math.min(last, now + move)));
    } else if (event.key === "Enter") open(at);
  };

  return (
    <div ref={box} className={css.box}>
      <canvas
        ref={canvas}
        className={css.canvas}
        role="application"
        aria-label={`${label}. Arrow keys walk over the cells, Enter opens one.`}
        tabIndex={0}
        onMouseMove={(event) => setAt(locate(event))}
        onMouseLeave={() => setAt(-1)}
        onClick={(event) => open(locate(event))}
        onKeyDown={walk}
        onBlur={() => setAt(-1)}
      />
      {current && (
        <div
          className={css.tip}
          style={{
            top: current.y + layout.size + 8,
            ...(current.x > width / 2 ? { right: width - current.x - layout.size } : { left: current.x }),
          }}
        >
          <strong>{`${current.group.label} ${current.cell.label}`}</strong>
          <span>{current.cell.text}</span>
          {current.cell.lines.map((line) => (
            <span key={line} className="muted">
              {line}
            </span>
          ))}
        </div>
      )}
      <span role="status" className="visually-hidden">
        {current &&
          [`${current.group.label} ${current.cell.label}`, current.cell.text, ...current.cell.lines].join(", ")}
      </span>
    </div>
  );
}

/** What the colours mean. */
export function HeatScale({ from, to }: { from: string; to: string }) {
  const theme = useTheme();
  return (
    <span className={css.scale}>
      {from}
      <span className={css.steps} aria-hidden>
        {SCALE[theme].map((color) => (
          <span key={color} style={{ background: color }} />
        ))}
      </span>
      {to}
    </span>
  );
}
