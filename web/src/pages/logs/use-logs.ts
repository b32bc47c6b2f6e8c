/** The logs of some runs, read and followed for as long as they are looked at. */
import { useEffect, useRef, useState } from "react";
import { followLog, type LogLineView, type LogState } from "@/api/logs";
import { useLinkState } from "@/live/link";
import { EMPTY_BUFFER, type LogBuffer, onlyRuns, withLines } from "./log-buffer";

/** Lines of that long are drawn together. */
const FLUSH_MS = 150;

export interface RunLogState {
  readonly state: LogState;
  readonly error?: Error;
}

export interface Logs {
  readonly buffer: LogBuffer;
  readonly states: Readonly<Record<string, RunLogState>>;
}

export function useLogs(runs: readonly string[]): Logs {
  const [buffer, setBuffer] = useState<LogBuffer>(EMPTY_BUFFER);
  const [states, setStates] = useState<Logs["states"]>({});
  const current = useRef<LogBuffer>(EMPTY_BUFFER);
  // A host that is back is read again at once; a connection that nobody ended would stay silent.
  const isBack = useLinkState() === "live";
  useEffect(() => {
    if (!isBack) return undefined;
    const end = new AbortController();
    let timer = 0;
    const flush = () => {
      timer = 0;
      setBuffer(current.current);
    };
    current.current = onlyRuns(current.current, runs);
    flush();
    for (const run of runs) {
      const onLines = (lines: readonly LogLineView[]) => {
        if (end.signal.aborted) return;
        current.current = withLines(current.current, run, lines);
        timer ||= window.setTimeout(flush, FLUSH_MS);
      };
      const onState = (state: LogState, error?: Error) => {
        if (!end.signal.aborted) setStates((known) => ({ ...known, [run]: { state, error } }));
      };
      void followLog(run, current.current.newest[run]?.line ?? 0, { onLines, onState }, end.signal);
    }
    return () => {
      end.abort();
      clearTimeout(timer);
    };
  }, [runs, isBack]);
  return { buffer, states };
}
