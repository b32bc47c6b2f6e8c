import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { onHostEvent } from "@/live/link";

/** Chunks of a busy cluster end many times a second; the timeline is read again at most that often. */
const READ_EVERY_MS = 1000;

/** Reads the timeline again when chunks, runs or clients have changed. */
export function useFreshTimeline(): void {
  const client = useQueryClient();
  useEffect(() => {
    let timer = 0;
    const read = () => {
      timer = 0;
      void client.invalidateQueries({ queryKey: ["timeline"] });
    };
    const end = onHostEvent(({ ids, type }) => {
      if (ids.run !== undefined || ids.client !== undefined || type === "plan_restored")
        timer ||= window.setTimeout(read, READ_EVERY_MS);
    });
    return () => {
      end();
      clearTimeout(timer);
    };
  }, [client]);
}
