/** What went wrong and what to do about it. */
import { TriangleAlert } from "lucide-react";
import { ApiError } from "@/api/client";
import css from "./ui.module.css";

export function ErrorNotice({ error }: { error: Error }) {
  return (
    <div role="alert" className={css.notice}>
      <TriangleAlert size={16} aria-hidden />
      <div>
        <div>{error.message}</div>
        {error instanceof ApiError && error.hint && <div className="muted">{error.hint}</div>}
      </div>
    </div>
  );
}
