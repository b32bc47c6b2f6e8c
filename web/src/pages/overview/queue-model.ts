/** How long a run has been waiting. Pure. */
import { formatDuration } from "@/lib/format";

/** In whole seconds; nothing where it is not known since when. */
export function formatAge(since: number | null, now: number): string {
  if (since === null) return "";
  const seconds = Math.max(0, Math.round(now - since));
  return `waits ${seconds < 10 ? `${seconds} s` : formatDuration(seconds)}`;
}
