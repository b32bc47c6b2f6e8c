/** The lines, as many as are in sight. */
import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useLayoutEffect, useRef } from "react";
import { cx } from "@/lib/cx";
import { formatMoment, formatTime } from "@/lib/format";
import { RunSwatch } from "@/ui/state";
import type { LogLine } from "./log-buffer";
import { partsOf, type Search } from "./log-search";
import css from "./logs.module.css";

const LINE_PX = 20;
const OVERSCAN = 20;
/** So near to its end the view stays at it. */
const END_PX = 24;

interface LogViewProps {
  lines: readonly LogLine[];
  search: Search;
  /** The key of the line that the address names. */
  marked: string;
  /** The place of the found line that is looked at. */
  current: number | null;
  /** A place to bring into sight; a new object asks again. */
  target: { readonly index: number } | null;
  isFollowing: boolean;
  onFollowing(on: boolean): void;
  onMark(key: string): void;
  withRuns: boolean;
  wrap: boolean;
}

export function LogView(props: LogViewProps) {
  const { lines, isFollowing, onFollowing, target, wrap } = props;
  const box = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: lines.length,
    getScrollElement: () => box.current,
    estimateSize: () => LINE_PX,
    overscan: OVERSCAN,
    getItemKey: (index) => (lines[index] as LogLine).key,
  });
  const newest = lines.at(-1)?.key;
  useLayoutEffect(() => {
    if (isFollowing && lines.length > 0) virtual.scrollToIndex(lines.length - 1, { align: "end" });
  }, [isFollowing, newest, lines.length, virtual]);
  useEffect(() => {
    if (target) virtual.scrollToIndex(target.index, { align: "center" });
  }, [target, virtual]);
  const top = useRef(0);
  // Only a person scrolls upwards: that ends the following, and being at the end begins it.
  const scrolled = (element: HTMLElement) => {
    const isUp = element.scrollTop < top.current;
    top.current = element.scrollTop;
    const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < END_PX;
    if (isUp && !isAtEnd && isFollowing) onFollowing(false);
    if (!isUp && isAtEnd && !isFollowing && !target) onFollowing(true);
  };
  return (
    <div
      ref={box}
      className={cx(css.view, wrap && css.wrap)}
      tabIndex={0}
      role="region"
      aria-label="Log lines"
      onScroll={(event) => scrolled(event.currentTarget)}
    >
      <div className={css.space} style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map((item) => {
          const line = lines[item.index] as LogLine;
          return (
            <div
              key={item.key}
              ref={wrap ? virtual.measureElement : undefined}
              data-index={item.index}
              className={css.slot}
              style={{ transform: `translateY(${item.start}px)` }}
            >
              <LineRow
                line={line}
                search={props.search}
                isMarked={line.key === props.marked}
                isCurrent={item.index === props.current}
                onMark={props.onMark}
                withRun={props.withRuns}
              />
            </div>
          );
        })}
      </div>
    </div>
  );
}

interface LineRowProps {
  line: LogLine;
  search: Search;
  isMarked: boolean;
  isCurrent: boolean;
  onMark(key: string): void;
  withRun: boolean;
}

const LineRow = memo(function LineRow({ line, search, isMarked, isCurrent, onMark, withRun }: LineRowProps) {
  const level = line.level.toLowerCase();
  return (
    <div className={cx(css.line, isMarked && css.marked, isCurrent && css.current)} data-line={line.key}>
      <a
        className={css.number}
        href={`/logs?run=${line.run}&line=${line.key}`}
        aria-label={`Line ${line.line} of ${line.run}`}
        aria-current={isMarked || undefined}
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          onMark(line.key);
        }}
      >
        {line.line}
      </a>
      <span className={css.clock} title={formatTime(line.at)}>
        {formatMoment(line.at)}
      </span>
      {withRun && (
        <span className={css.run}>
          <RunSwatch run={line.run} />
          {line.run}
        </span>
      )}
      <span className={cx(css.level, css[level])}>{level}</span>
      <span className={css.text}>
        {partsOf(line.text, search).map((part, index) =>
          part.isFound ? <mark key={index}>{part.text}</mark> : <span key={index}>{part.text}</span>,
        )}
      </span>
    </div>
  );
});
