import { ApiError } from "@/api/client";

/**
 * What of a query's error the page tells. While the host cannot be reached what was read before stays in sight, and the badge of the link
 * says the rest; a refusal is told beside it.
 */
export function shownError(error: Error | null, data: unknown): Error | null {
  if (error === null || data === undefined) return error;
  return error instanceof ApiError && error.status !== 401 ? error : null;
}
