import { Link } from "react-router";
import type { Note, NoteKind } from "@/api/profiler-query";
import { formatTime, plural } from "@/lib/format";
import { fixedRange } from "@/lib/time-range";
import { Button } from "@/ui/button";
import { Check } from "@/ui/field";
import { Empty, Panel } from "@/ui/panel";
import css from "./profiler.module.css";
import type { ProfilerState } from "./use-state";

const KINDS: readonly (readonly [kind: NoteKind, label: string])[] = [
  ["op", "Operations"],
  ["checkpoint", "Checkpoints"],
  ["eval", "Evaluations"],
  ["failure", "Failures"],
  ["client", "Clients"],
];
const SHOWN_MAX = 100;
/** How much before and after a moment its zoom shows. */
const AROUND_S = 60;

interface NoteListProps {
  readonly notes: readonly Note[];
  /** How many more there are in the range. */
  readonly leftOut: number;
  readonly state: ProfilerState;
}

/** What happened in the range; the panels mark the kinds that are ticked. */
export function NoteList({ notes, leftOut, state }: NoteListProps) {
  const kinds = state.notes;
  const shown = notes.filter((note) => kinds.includes(note.kind)).reverse();
  return (
    <Panel
      title="What happened"
      flush
      note={plural(shown.length, "mark") + (leftOut > 0 ? `; ${leftOut} older ones are left out` : "")}
      actions={KINDS.map(([kind, label]) => (
        <Check
          key={kind}
          label={label}
          checked={kinds.includes(kind)}
          onChange={(on) => state.setNotes(on ? [...kinds, kind] : kinds.filter((one) => one !== kind))}
        />
      ))}
    >
      {shown.length === 0 ? (
        <Empty title="Nothing of these kinds happened in this range" />
      ) : (
        <ul className={css.notes} tabIndex={0} aria-label="What happened">
          {shown.slice(0, SHOWN_MAX).map((note, index) => (
            <li key={`${note.at} ${note.kind} ${index}`}>
              <Button kind="ghost" onClick={() => state.setRange(fixedRange(note.at - AROUND_S, note.at + AROUND_S))}>
                {formatTime(note.at)}
              </Button>
              <span className={css.kind}>{note.kind}</span>
              <span className={css.noteText}>{note.text}</span>
              {note.run && <Link to={`/runs/${note.run}`}>{note.run}</Link>}
              {note.client && <Link to={`/clients/${note.client}`}>{note.client}</Link>}
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
