import { type FormEvent, useState } from "react";
import { Button } from "@/ui/button";
import { Input } from "@/ui/field";
import type { PanelSpec } from "./panels";
import css from "./profiler.module.css";
import { typedScale } from "./units";
import type { ProfilerState } from "./use-state";

/** A line of a person's own in one panel; it is part of the address, too. */
export function ThresholdField({ panel, state }: { panel: PanelSpec; state: ProfilerState }) {
  const { factor, text: unit } = typedScale(panel.unit);
  const own = state.thresholds[panel.id];
  const [text, setText] = useState(own === undefined ? "" : String(Number((own / factor).toPrecision(9))));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const others = Object.fromEntries(Object.entries(state.thresholds).filter(([id]) => id !== panel.id));
    const value = Number(text);
    state.setThresholds(
      text.trim() === "" || !Number.isFinite(value) ? others : { ...others, [panel.id]: value * factor },
    );
  };
  return (
    <form className={css.threshold} onSubmit={submit}>
      <label>
        <span className="muted">Threshold{unit && `, ${unit}`}</span>
        <Input inputMode="decimal" size={7} value={text} onChange={(event) => setText(event.target.value)} />
      </label>
      <Button type="submit">Set</Button>
    </form>
  );
}
