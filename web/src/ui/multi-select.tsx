/** Several of many: a list with boxes behind a button, with a field to find them. Nothing chosen means all. */
import { Popover } from "@base-ui/react/popover";
import { ChevronDown } from "lucide-react";
import { useMemo, useState } from "react";
import { Button } from "./button";
import { Input } from "./field";
import css from "./multi-select.module.css";

export interface Option {
  readonly value: string;
  readonly label?: string;
}

interface MultiSelectProps {
  label: string;
  options: readonly Option[];
  chosen: readonly string[];
  onChange(values: readonly string[]): void;
}

const SHOWN_MAX = 100;

export function MultiSelect({ label, options, chosen, onChange }: MultiSelectProps) {
  const text = chosen.length === 0 ? "all" : chosen.length <= 2 ? chosen.join(", ") : `${chosen.length} chosen`;
  return (
    <Popover.Root>
      <Popover.Trigger render={<Button className={css.trigger} />}>
        <span className="muted">{label}</span>
        <span className={css.value}>{text}</span>
        <ChevronDown size={14} aria-hidden />
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Positioner sideOffset={4} align="start" className={css.over}>
          <Popover.Popup className={css.popup} aria-label={label}>
            <Choices label={label} options={options} chosen={chosen} onChange={onChange} />
          </Popover.Popup>
        </Popover.Positioner>
      </Popover.Portal>
    </Popover.Root>
  );
}

function Choices({ label, options, chosen, onChange }: MultiSelectProps) {
  const [text, setText] = useState("");
  const all = useMemo(() => {
    const known = new Set(options.map((option) => option.value));
    // What is chosen and gone can still be taken back.
    return [...chosen.filter((value) => !known.has(value)).map((value): Option => ({ value })), ...options];
  }, [options, chosen]);
  const found = all.filter((option) => (option.label ?? option.value).toLowerCase().includes(text.toLowerCase()));
  const toggle = (value: string, on: boolean) =>
    onChange(on ? [...chosen, value] : chosen.filter((other) => other !== value));
  return (
    <>
      <div className={css.head}>
        <Input
          type="search"
          aria-label={`Find in ${label}`}
          placeholder="Find"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <Button
          disabledReason={chosen.length === 0 ? "Nothing is chosen: all are shown" : null}
          onClick={() => onChange([])}
        >
          All
        </Button>
      </div>
      <ul className={css.list}>
        {found.slice(0, SHOWN_MAX).map(({ value, label: name }) => (
          <li key={value}>
            <label className={css.option}>
              <input
                type="checkbox"
                checked={chosen.includes(value)}
                onChange={(event) => toggle(value, event.target.checked)}
              />
              {name ?? value}
            </label>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p className={css.more}>Nothing matches</p>}
      {found.length > SHOWN_MAX && <p className={css.more}>{found.length - SHOWN_MAX} more: type to find them</p>}
    </>
  );
}
