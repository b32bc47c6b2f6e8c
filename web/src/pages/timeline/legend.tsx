import css from "./timeline.module.css";

/** What the patterns mean; each differs in form, not in colour alone. */
export function Legend({ useLabel }: { useLabel: string }) {
  return (
    <ul className={css.legend} aria-label="Legend">
      <li>
        <span className={css.keyTrain} aria-hidden />
        Training, in the run's colour
      </li>
      <li>
        <span className={css.keySetup} aria-hidden />
        Set-up
      </li>
      <li>
        <span className={css.keyEval} aria-hidden />
        Evaluation
      </li>
      <li>
        <span className={css.keyIdle} aria-hidden />
        Idle
      </li>
      <li>
        <span className={css.keyFail} aria-hidden>
          ✕
        </span>
        Failed
      </li>
      <li>
        <span className={css.keyUse} aria-hidden />
        {useLabel}
      </li>
    </ul>
  );
}
