import { Link } from "react-router";
import type { RunView } from "@/api/runs";
import { plainText } from "@/pages/logs/plain-text";
import { CopyButton } from "@/ui/copy-button";
import { Panel } from "@/ui/panel";
import { StateBadge } from "@/ui/state";
import css from "./run.module.css";

/** Why it failed, and what it said last. */
export function FailurePanel({ run, failure }: { run: RunView; failure: NonNullable<RunView["failure"]> }) {
  const tail = failure.log_tail.split("\n").map(plainText).join("\n");
  return (
    <Panel
      title="Failure"
      note={<StateBadge state="failed" text={failure.code} />}
      actions={
        <>
          {tail && <CopyButton text={`${failure.message}\n\n${tail}`} label="Copy" />}
          <Link to={`/logs?run=${run.id}`}>Whole log</Link>
        </>
      }
    >
      <p className={css.message}>{failure.message}</p>
      {tail ? (
        <pre className={css.tail} tabIndex={0} aria-label="Last lines of its log">
          {tail}
        </pre>
      ) : (
        <p className="muted">It left no output.</p>
      )}
    </Panel>
  );
}
