/** Whether what the page shows is live. */
import { useLinkState } from "@/live/link";
import type { LinkState } from "@/live/stream";
import { StateBadge } from "@/ui/state";
import { Tooltip } from "@/ui/tooltip";

const WORDS: Readonly<Record<LinkState, readonly [string, string, string]>> = {
  connecting: ["preparing", "Connecting", "The page connects to the host."],
  live: ["ready", "Live", "Changes show as they happen."],
  broken: [
    "warning",
    "Reconnecting",
    "The host does not answer. The page shows what it last knew and goes on when the host is back.",
  ],
  "logged-out": ["stopped", "Logged out", "Log in again to go on."],
};

export function LinkBadge() {
  const [state, text, hint] = WORDS[useLinkState()];
  return (
    <Tooltip text={hint}>
      <span role="status" data-testid="link">
        <StateBadge state={state} text={text} />
      </span>
    </Tooltip>
  );
}
