import type { Difference } from "./clone-model";
import css from "./ops.module.css";

/** What differs from the parent, as in a diff: the old value, then the new one. */
export function CloneDiff({ differences }: { differences: readonly Difference[] }) {
  if (differences.length === 0)
    return <p className="muted">No changes yet: the clone would have its parent's configuration.</p>;
  return (
    <section className={css.diff} aria-label="Changes against the parent">
      {differences.map(({ key, before, after }) => (
        <div key={key}>
          <del>{`- ${key}: ${before || "not set"}`}</del>
          <ins>{`+ ${key}: ${after || "not set"}`}</ins>
        </div>
      ))}
    </section>
  );
}
