/** Says once for the whole page that what it shows is old. It lies over the page, so that nothing moves. */
import { useQueryClient } from "@tanstack/react-query";
import { useRefetchError } from "@/lib/refetch-error";
import { Button } from "./button";
import { ErrorNotice } from "./notice";
import css from "./stale-notice.module.css";

export function StaleNotice() {
  const client = useQueryClient();
  const error = useRefetchError();
  const retry = () =>
    void client.refetchQueries({ type: "active", predicate: ({ state }) => state.status === "error" });
  return (
    error && (
      <div className={css.over}>
        <ErrorNotice error={error} />
        <p className={css.note}>
          What is shown is what was read last.
          <Button onClick={retry}>Try again</Button>
        </p>
      </div>
    )
  );
}
