/** Buttons. One that cannot be used stays focusable and says why. */
import { type ComponentProps, type ReactNode, useId } from "react";
import { cx } from "@/lib/cx";
import { Tooltip } from "./tooltip";
import css from "./ui.module.css";

export interface ButtonProps extends Omit<ComponentProps<"button">, "disabled"> {
  kind?: "plain" | "primary" | "danger" | "ghost";
  /** Why it cannot be used now. */
  disabledReason?: string | null;
  /** For a button that shows only an icon: its name, and its tooltip. */
  label?: string;
  hint?: ReactNode;
}

export function Button({
  kind = "plain",
  disabledReason,
  label,
  hint,
  className,
  onClick,
  children,
  ...rest
}: ButtonProps) {
  const id = useId();
  const off = Boolean(disabledReason);
  const button = (
    <button
      type="button"
      {...rest}
      className={cx(css.button, kind !== "plain" && css[kind], label !== undefined && css.icon, className)}
      aria-label={label ?? rest["aria-label"]}
      aria-disabled={off || undefined}
      aria-describedby={off ? id : undefined}
      onClick={(event) => (off ? event.preventDefault() : onClick?.(event))}
    >
      {children}
      {off && (
        <span id={id} hidden>
          {disabledReason}
        </span>
      )}
    </button>
  );
  return <Tooltip text={disabledReason || hint || label}>{button}</Tooltip>;
}
