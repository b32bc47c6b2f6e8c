/** Which time a page shows: a length up to now, or two moments; and to move it back, on, or make it longer. */
import { Popover } from "@base-ui/react/popover";
import { ChevronLeft, ChevronRight, Clock, ZoomOut } from "lucide-react";
import { type FormEvent, useState } from "react";
import { formatClock, formatTime } from "@/lib/format";
import {
  fixedRange,
  fromLocalText,
  localText,
  PRESETS,
  resolved,
  shifted,
  type TimeRange,
  timeRangeText,
  zoomedOut,
} from "@/lib/time-range";
import { Button } from "../button";
import { Field, Input } from "../field";
import css from "./time-range.module.css";

interface TimeRangePickerProps {
  range: TimeRange;
  onChange(range: TimeRange): void;
}

export function TimeRangePicker({ range, onChange }: TimeRangePickerProps) {
  const [open, setOpen] = useState(false);
  const take = (next: TimeRange) => {
    setOpen(false);
    onChange(next);
  };
  return (
    <div className={css.picker} role="group" aria-label="Range of time">
      <Button label="Earlier" onClick={() => onChange(shifted(range, -1, nowS()))}>
        <ChevronLeft size={16} aria-hidden />
      </Button>
      <Popover.Root open={open} onOpenChange={setOpen}>
        <Popover.Trigger render={<Button />}>
          <Clock size={14} aria-hidden />
          {rangeLabel(range)}
        </Popover.Trigger>
        <Popover.Portal>
          <Popover.Positioner sideOffset={4} align="end" className={css.over}>
            <Popover.Popup className={css.popup} aria-label="Range of time">
              <div className={css.presets}>
                {PRESETS.map(([text, seconds, label]) => (
                  <button
                    key={text}
                    type="button"
                    className={css.preset}
                    aria-pressed={timeRangeText(range) === text}
                    onClick={() => take({ kind: "last", seconds })}
                  >
                    {label}
                  </button>
                ))}
              </div>
              <CustomRange range={range} onChange={take} />
            </Popover.Popup>
          </Popover.Positioner>
        </Popover.Portal>
      </Popover.Root>
      <Button
        label="Later"
        disabledReason={range.kind === "last" ? "This range ends now" : null}
        onClick={() => onChange(shifted(range, 1, nowS()))}
      >
        <ChevronRight size={16} aria-hidden />
      </Button>
      <Button label="Zoom out" onClick={() => onChange(zoomedOut(range, nowS()))}>
        <ZoomOut size={16} aria-hidden />
      </Button>
    </div>
  );
}

function CustomRange({ range, onChange }: TimeRangePickerProps) {
  const [start, end] = resolved(range, nowS());
  const [from, setFrom] = useState(localText(start));
  const [to, setTo] = useState(localText(end));
  const [fromS, toS] = [fromLocalText(from), fromLocalText(to)];
  const wrong = fromS === null || toS === null ? "Both times are needed" : fromS >= toS ? "From lies before to" : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (wrong === null && fromS !== null && toS !== null) onChange(fixedRange(fromS, toS));
  };
  return (
    <form className={css.custom} onSubmit={submit}>
      <Field label="From">
        <Input type="datetime-local" step={1} value={from} onChange={(event) => setFrom(event.target.value)} />
      </Field>
      <Field label="To">
        <Input type="datetime-local" step={1} value={to} onChange={(event) => setTo(event.target.value)} />
      </Field>
      <Button type="submit" kind="primary" disabledReason={wrong}>
        Show this range
      </Button>
    </form>
  );
}

function rangeLabel(range: TimeRange): string {
  if (range.kind === "last") {
    const preset = PRESETS.find(([, seconds]) => seconds === range.seconds);
    return preset ? preset[2] : `Last ${range.seconds} s`;
  }
  const isOneDay = formatTime(range.from).slice(0, 10) === formatTime(range.to).slice(0, 10);
  return `${formatTime(range.from)} – ${isOneDay ? formatClock(range.to) : formatTime(range.to)}`;
}

function nowS(): number {
  return Date.now() / 1000;
}
