/** A titled part of a page. */
import type { ReactNode } from "react";
import { cx } from "@/lib/cx";
import css from "./ui.module.css";

interface PanelProps {
  title: string;
  note?: ReactNode;
  actions?: ReactNode;
  /** Without padding, for tables and charts. */
  flush?: boolean;
  className?: string;
  children: ReactNode;
}

export function Panel({ title, note, actions, flush, className, children }: PanelProps) {
  return (
    <section className={cx(css.panel, className)} aria-label={title}>
      <header className={css.panelHead}>
        <h2>{title}</h2>
        {note && <span className={css.panelNote}>{note}</span>}
        {actions && <div className={css.panelActions}>{actions}</div>}
      </header>
      <div className={flush ? css.flush : css.panelBody}>{children}</div>
    </section>
  );
}

/** What stands where there is nothing to show yet. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className={css.empty}>
      <strong>{title}</strong>
      {children && <span>{children}</span>}
    </div>
  );
}
