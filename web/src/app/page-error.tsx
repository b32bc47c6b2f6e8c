/** Stands where a page should be: the address is wrong, or the page broke. */
import { Link, useRouteError } from "react-router";
import { Empty } from "@/ui/panel";

export function PageError() {
  const error = useRouteError();
  return (
    <Empty title={error ? "This page broke" : "There is no such page"}>
      {error instanceof Error && <span>{error.message}. </span>}
      <Link to="/" reloadDocument={Boolean(error)}>
        Back to the overview
      </Link>
    </Empty>
  );
}
