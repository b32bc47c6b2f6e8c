import { ArrowDown, Pause, Play } from "lucide-react";
import { type ReactNode, useDeferredValue, useMemo, useState } from "react";
import { plural } from "@/lib/format";
import { flagCodec, textCodec, useUrlState } from "@/lib/url-state";
import { Button } from "@/ui/button";
import { Check, Select } from "@/ui/field";
import { Empty } from "@/ui/panel";
import type { LogBuffer } from "./log-buffer";
import { type Level, nextFound, parseSearch, type Shown, shownLines } from "./log-search";
import { LogView } from "./log-view";
import css from "./logs.module.css";
import { SearchBox } from "./search-box";
import { useMarkedLine } from "./use-marked-line";
import type { Logs } from "./use-logs";

const TEXT = textCodec<string>("");
const LEVEL = textCodec<Level>("all", ["all", "info", "warning", "error"]);
const LEVELS: readonly { value: Level; label: string }[] = [
  { value: "all", label: "all" },
  { value: "info", label: "info and worse" },
  { value: "warning", label: "warning and worse" },
  { value: "error", label: "errors" },
];

/** The lines of the chosen runs, what of them is shown, and where in them one is. */
export function LogPanel({ runs, logs }: { runs: readonly string[]; logs: Logs }) {
  const [text, setText] = useUrlState("q", TEXT);
  const [level, setLevel] = useUrlState("level", LEVEL);
  const [onlyFound, setOnlyFound] = useUrlState("only", flagCodec);
  const [wrap, setWrap] = useUrlState("wrap", flagCodec);
  const [marked, setMarked] = useUrlState("line", TEXT);
  const [frozen, setFrozen] = useState<LogBuffer | null>(null);
  const [isFollowing, setFollowing] = useState(marked === "");
  const [current, setCurrent] = useState<number | null>(null);
  const [target, setTarget] = useState<{ index: number } | null>(null);
  const search = useMemo(() => parseSearch(text), [text]);
  const sought = useDeferredValue(search);
  const buffer = frozen ?? logs.buffer;
  const shown = useMemo(() => shownLines(buffer.lines, level, sought, onlyFound), [buffer, level, sought, onlyFound]);
  const isMarkedThere = useMarkedLine(marked, shown.lines, setTarget);
  const isReading = runs.some((run) => (logs.states[run]?.state ?? "reading") === "reading");
  const go = (direction: 1 | -1) => {
    const next = nextFound(shown.found, current ?? (direction === 1 ? -1 : shown.lines.length), direction);
    setCurrent(next);
    setFollowing(false);
    if (next !== null) setTarget({ index: next });
  };
  return (
    <section className={css.panel} aria-label="Log">
      <div className={css.bar}>
        <SearchBox
          text={text}
          problem={search.problem}
          found={shown.found}
          current={current}
          onText={(next) => {
            setText(next);
            setCurrent(null);
          }}
          onGo={go}
        />
        <Check label="Only what is found" checked={onlyFound} onChange={setOnlyFound} />
        <Select label="Level" value={level} choices={LEVELS} onChange={setLevel} />
        <Check label="Wrap" checked={wrap} onChange={setWrap} />
        <span className={css.end}>
          {!isFollowing && !frozen && (
            <Button onClick={() => setFollowing(true)}>
              <ArrowDown size={14} aria-hidden />
              To the newest
            </Button>
          )}
          <PauseButton frozen={frozen} newest={logs.buffer} onFreeze={setFrozen} />
        </span>
      </div>
      {shown.lines.length > 0 ? (
        <LogView
          lines={shown.lines}
          search={sought}
          marked={marked}
          current={current}
          target={target}
          isFollowing={isFollowing && !frozen}
          onFollowing={(on) => {
            setFollowing(on);
            if (!on) setTarget(null);
          }}
          onMark={(key) => {
            setMarked(key === marked ? "" : key);
            setFollowing(false);
          }}
          withRuns={runs.length > 1}
          wrap={wrap}
        />
      ) : (
        <Empty title={whyEmpty(buffer, isReading)} />
      )}
      <Foot buffer={buffer} shown={shown}>
        {marked !== "" && !isMarkedThere && !isReading && <span>{`Line ${marked} is not among them`}</span>}
        <span className={css.end}>{frozen ? "Paused" : isFollowing ? "Follows the newest line" : ""}</span>
      </Foot>
    </section>
  );
}

function whyEmpty(buffer: LogBuffer, isReading: boolean): string {
  if (buffer.lines.length > 0) return "No line is of that kind";
  return isReading ? "Reading the log" : "Nothing has been printed yet";
}

interface PauseButtonProps {
  frozen: LogBuffer | null;
  newest: LogBuffer;
  onFreeze(buffer: LogBuffer | null): void;
}

/** What is paused is the view alone: lines are read on behind it. */
function PauseButton({ frozen, newest, onFreeze }: PauseButtonProps) {
  const waiting = frozen ? sizeOf(newest) - sizeOf(frozen) : 0;
  return (
    <Button onClick={() => onFreeze(frozen ? null : newest)}>
      {frozen ? <Play size={14} aria-hidden /> : <Pause size={14} aria-hidden />}
      {frozen ? `Go on${waiting > 0 ? `, ${waiting.toLocaleString("en")} new` : ""}` : "Pause"}
    </Button>
  );
}

function sizeOf(buffer: LogBuffer): number {
  return buffer.lines.length + buffer.dropped;
}

function Foot({ buffer, shown, children }: { buffer: LogBuffer; shown: Shown; children: ReactNode }) {
  return (
    <footer className={css.foot}>
      <span>{plural(buffer.lines.length, "line")}</span>
      {shown.lines.length < buffer.lines.length && <span>{`${shown.lines.length.toLocaleString("en")} shown`}</span>}
      {buffer.dropped > 0 && <span>{`${plural(buffer.dropped, "older line")} left out`}</span>}
      {children}
    </footer>
  );
}
