/** Small controls: text, choice, switch between few. */
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import type { ComponentProps, ReactNode } from "react";
import { cx } from "@/lib/cx";
import { decimalsOf } from "@/lib/ticks";
import css from "./ui.module.css";

export function Input({ className, ...rest }: ComponentProps<"input">) {
  return <input {...rest} className={cx(css.input, className)} />;
}

/** A list whose label is elsewhere. */
export function NativeSelect({ className, ...rest }: ComponentProps<"select">) {
  return <select {...rest} className={cx(css.select, className)} />;
}

export function Field({ label, children }: { label: ReactNode; children: ReactNode }) {
  return (
    <label className={css.field}>
      <span className="muted">{label}</span>
      {children}
    </label>
  );
}

export interface Choice<T extends string> {
  readonly value: T;
  readonly label: string;
}

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  choices: readonly Choice<T>[];
  onChange(value: T): void;
}

/** The browser's own list: it works with a keyboard, a finger and a screen reader. */
export function Select<T extends string>({ label, value, choices, onChange }: ChoiceProps<T>) {
  return (
    <label className={css.inline}>
      {label}
      <select className={css.select} value={value} onChange={(event) => onChange(event.target.value as T)}>
        {choices.map((choice) => (
          <option key={choice.value} value={choice.value}>
            {choice.label}
          </option>
        ))}
      </select>
    </label>
  );
}

/** One of a few, all of them in sight. */
export function Segmented<T extends string>({ label, value, choices, onChange }: ChoiceProps<T>) {
  return (
    <ToggleGroup
      aria-label={label}
      className={css.segmented}
      value={[value]}
      onValueChange={(next: string[]) => next[0] !== undefined && onChange(next[0] as T)}
    >
      {choices.map((choice) => (
        <Toggle key={choice.value} value={choice.value} className={css.segment}>
          {choice.label}
        </Toggle>
      ))}
    </ToggleGroup>
  );
}

export function Check({ label, checked, onChange }: { label: string; checked: boolean; onChange(on: boolean): void }) {
  return (
    <label className={css.inline}>
      <input type="checkbox" checked={checked} onChange={(event) => onChange(event.target.checked)} />
      {label}
    </label>
  );
}

interface SliderProps {
  label: string;
  value: number;
  max: number;
  step: number;
  onChange(value: number): void;
}

/** A number from 0 on, which stands beside it. */
export function Slider({ label, value, max, step, onChange }: SliderProps) {
  return (
    <label className={cx(css.inline, css.slider)}>
      {label}
      <input
        type="range"
        min={0}
        max={max}
        step={step}
        value={value}
        onChange={(event) => onChange(Number(event.target.value))}
      />
      <output>{value.toFixed(decimalsOf(step))}</output>
    </label>
  );
}
