/** Which runs' logs are shown. */
import { useQuery } from "@tanstack/react-query";
import { X } from "lucide-react";
import { useId, useState } from "react";
import { Link } from "react-router";
import { recentRunsQuery } from "@/api/run-list";
import { Button } from "@/ui/button";
import { Input } from "@/ui/field";
import { RunSwatch } from "@/ui/state";
import css from "./logs.module.css";
import type { RunLogState } from "./use-logs";

/** Each is a connection of its own, and a browser has six for all tabs of a host. */
export const RUNS_MAX = 3;

const WORDS = { reading: "reading", live: "live", broken: "reconnecting", refused: "not readable" } as const;

interface RunChooserProps {
  runs: readonly string[];
  states: Readonly<Record<string, RunLogState>>;
  onChange(runs: readonly string[]): void;
}

export function RunChooser({ runs, states, onChange }: RunChooserProps) {
  const list = useId();
  const [text, setText] = useState("");
  const { data: known = [] } = useQuery(recentRunsQuery);
  const add = (wanted: string) => {
    const run = known.find((one) => one.id === wanted || one.name === wanted);
    if (!run || runs.includes(run.id)) return false;
    onChange([...runs, run.id]);
    setText("");
    return true;
  };
  return (
    <div className={css.runs}>
      {runs.map((run) => (
        <span key={run} className={css.chip}>
          <RunSwatch run={run} />
          <Link to={`/runs/${run}`}>{run}</Link>
          <span className="muted">{WORDS[states[run]?.state ?? "reading"]}</span>
          <Button
            kind="ghost"
            className={css.remove}
            label={`Leave out ${run}`}
            onClick={() => onChange(runs.filter((one) => one !== run))}
          >
            <X size={12} aria-hidden />
          </Button>
        </span>
      ))}
      {runs.length < RUNS_MAX ? (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            add(text.trim());
          }}
        >
          <Input
            aria-label="Add a run"
            placeholder="Add a run"
            list={list}
            value={text}
            onChange={(event) => {
              if (!add(event.target.value)) setText(event.target.value);
            }}
          />
          <datalist id={list}>
            {known
              .filter((one) => !runs.includes(one.id))
              .map((one) => (
                <option key={one.id} value={one.id}>
                  {`${one.name}, ${one.state}`}
                </option>
              ))}
          </datalist>
        </form>
      ) : (
        <span className="muted">{`${RUNS_MAX} at most`}</span>
      )}
    </div>
  );
}
