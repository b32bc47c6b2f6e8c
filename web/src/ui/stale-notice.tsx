/** Says once for the whole page that what it shows is old. It lies over the page, so that nothing moves. */
import { useRefetchError } from "@/lib/refetch-error";
import { ErrorNotice } from "./notice";
import css from "./stale-notice.module.css";

export function StaleNotice() {
  const error = useRefetchError();
  return (
    error && (
      <div className={css.over}>
        <ErrorNotice error={error} />
        <p className={css.note}>What is shown is what was read last; it is tried again.</p>
      </div>
    )
  );
}
