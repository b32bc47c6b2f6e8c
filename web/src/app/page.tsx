/** The head of a page: where it is, what it is called, what can be done here. Also names the browser's tab. */
import { ChevronRight } from "lucide-react";
import { Fragment, type ReactNode, useEffect } from "react";
import { Link } from "react-router";
import css from "./page.module.css";

interface PageProps {
  title: string;
  /** The way here: addresses and their names. */
  trail?: readonly { to: string; label: string }[];
  note?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}

export function Page({ title, trail = [], note, actions, children }: PageProps) {
  useEffect(() => {
    document.title = `${title} · gswarm`;
  }, [title]);
  return (
    <div className={css.page}>
      <header className={css.head}>
        <div className={css.titles}>
          {trail.length > 0 && (
            <nav aria-label="Path" className={css.trail}>
              {trail.map((step) => (
                <Fragment key={step.to}>
                  <Link to={step.to}>{step.label}</Link>
                  <ChevronRight size={12} aria-hidden />
                </Fragment>
              ))}
            </nav>
          )}
          <h1>{title}</h1>
          {note && <div className={css.note}>{note}</div>}
        </div>
        {actions && <div className={css.actions}>{actions}</div>}
      </header>
      {children}
    </div>
  );
}
