/** The states of runs, experiments, clients and jobs: a sign, a word and a colour each, never colour alone. */
import { cx } from "@/lib/cx";
import { runColorCss } from "@/lib/run-color";
import css from "./ui.module.css";

type Tone = "run" | "done" | "fail" | "warn" | "idle";
type Sign = "play" | "ring" | "half" | "square" | "check" | "cross" | "minus" | "dots";

const LOOKS: Readonly<Record<string, readonly [Tone, Sign]>> = {
  queued: ["idle", "ring"],
  preparing: ["run", "half"],
  running: ["run", "play"],
  active: ["run", "play"],
  training: ["run", "play"],
  stopping: ["warn", "half"],
  draining: ["warn", "half"],
  stopped: ["idle", "square"],
  idle: ["idle", "square"],
  completed: ["done", "check"],
  done: ["done", "check"],
  ready: ["done", "check"],
  failed: ["fail", "cross"],
  rejected: ["fail", "cross"],
  lost: ["fail", "cross"],
  critical: ["fail", "cross"],
  warning: ["warn", "minus"],
  info: ["run", "dots"],
  pruned: ["idle", "minus"],
  deleting: ["warn", "dots"],
  deleted: ["idle", "minus"],
};

const PATHS: Readonly<Record<Sign, string>> = {
  play: "M3 1.5v9l7.5-4.5z",
  ring: "M6 1a5 5 0 1 0 0 10A5 5 0 0 0 6 1m0 1.6a3.4 3.4 0 1 1 0 6.8 3.4 3.4 0 0 1 0-6.8",
  half: "M6 1a5 5 0 1 0 0 10A5 5 0 0 0 6 1m0 1.6v6.8a3.4 3.4 0 0 1 0-6.8",
  square: "M2 2h8v8H2z",
  check: "M4.6 10.2.8 6.4l1.5-1.5 2.3 2.3 5.1-5.4 1.5 1.4z",
  cross: "M2.6 1.2 6 4.6l3.4-3.4 1.4 1.4L7.4 6l3.4 3.4-1.4 1.4L6 7.4l-3.4 3.4-1.4-1.4L4.6 6 1.2 2.6z",
  minus: "M1.5 4.8h9v2.4h-9z",
  dots: "M0 4.6h2.8v2.8H0zm4.6 0h2.8v2.8H4.6zm4.6 0H12v2.8H9.2z",
};

export function StateBadge({ state, text }: { state: string; text?: string }) {
  const [tone, sign] = LOOKS[state] ?? ["idle", "ring"];
  return (
    <span className={cx(css.state, css[tone])}>
      <svg width="12" height="12" viewBox="0 0 12 12" fill="currentColor" aria-hidden>
        <path d={PATHS[sign]} />
      </svg>
      {text ?? state}
    </span>
  );
}

/** The run's colour, which is the same in every table, chart and timeline. */
export function RunSwatch({ run }: { run: string }) {
  return <span className={css.swatch} style={{ background: runColorCss(run) }} aria-hidden />;
}

/** How much is done; `label` says it for screen readers. */
export function Progress({ share, label, color }: { share: number; label: string; color?: string }) {
  const percent = Math.max(0, Math.min(1, share)) * 100;
  return (
    <span
      className={css.bar}
      role="progressbar"
      aria-label={label}
      aria-valuenow={Math.round(percent)}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <span className={css.barFill} style={{ width: `${percent}%`, background: color }} />
    </span>
  );
}
