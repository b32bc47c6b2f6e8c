import { ChevronDown, ChevronUp } from "lucide-react";
import { Button } from "@/ui/button";
import { Input } from "@/ui/field";
import css from "./logs.module.css";

interface SearchBoxProps {
  text: string;
  /** Why it is no search. */
  problem: string | null;
  found: readonly number[];
  /** The place of the found line that is looked at. */
  current: number | null;
  onText(text: string): void;
  onGo(direction: 1 | -1): void;
}

export function SearchBox({ text, problem, found, current, onText, onGo }: SearchBoxProps) {
  return (
    <form
      className={css.search}
      onSubmit={(event) => {
        event.preventDefault();
        onGo(1);
      }}
    >
      <Input
        type="search"
        aria-label="Search the log"
        placeholder="Search, or /expression/"
        value={text}
        aria-invalid={problem !== null}
        onChange={(event) => onText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || !event.shiftKey) return;
          event.preventDefault();
          onGo(-1);
        }}
      />
      <span className={css.count} role="status">
        {problem ?? foundText(text, found, current)}
      </span>
      <Button kind="ghost" label="Previous (Shift+Enter)" onClick={() => onGo(-1)}>
        <ChevronUp size={14} aria-hidden />
      </Button>
      <Button kind="ghost" label="Next (Enter)" onClick={() => onGo(1)}>
        <ChevronDown size={14} aria-hidden />
      </Button>
    </form>
  );
}

function foundText(text: string, found: readonly number[], current: number | null): string {
  if (text === "") return "";
  if (found.length === 0) return "nothing found";
  const place = current === null ? -1 : found.indexOf(current);
  const all = found.length.toLocaleString("en");
  return place < 0 ? `${all} found` : `${place + 1} of ${all}`;
}
