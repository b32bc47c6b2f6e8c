/** A menu behind a button. */
import { Menu as Base } from "@base-ui/react/menu";
import type { ReactElement, ReactNode } from "react";
import css from "./ui.module.css";

export interface MenuEntry {
  label: ReactNode;
  onSelect(): void;
  disabled?: boolean;
}

export function Menu({
  trigger,
  entries,
  head,
}: {
  trigger: ReactElement;
  entries: readonly MenuEntry[];
  head?: ReactNode;
}) {
  return (
    <Base.Root>
      <Base.Trigger render={trigger as ReactElement<Record<string, unknown>>} />
      <Base.Portal>
        <Base.Positioner sideOffset={4} align="end" className={css.over}>
          <Base.Popup className={css.menu}>
            {head}
            {entries.map((entry, index) => (
              <Base.Item key={index} className={css.menuItem} onClick={entry.onSelect} disabled={entry.disabled}>
                {entry.label}
              </Base.Item>
            ))}
          </Base.Popup>
        </Base.Positioner>
      </Base.Portal>
    </Base.Root>
  );
}
