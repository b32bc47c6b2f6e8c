import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { experimentQuery } from "@/api/experiments";
import { runQuery, type RunView } from "@/api/runs";
import { cx } from "@/lib/cx";
import { flagCodec, textCodec, useUrlState } from "@/lib/url-state";
import { Check, Input } from "@/ui/field";
import { Empty, Panel } from "@/ui/panel";
import { baseOf, type SpecRow, specRows } from "./spec-model";
import css from "./run.module.css";

const FIND = textCodec<string>("");

/** Its configuration, and what of it differs from the experiment's base and from its parent. */
export function SpecPanel({ run }: { run: RunView }) {
  const { data: experiment } = useQuery(experimentQuery(run.experiment));
  const { data: parent } = useQuery({ ...runQuery(run.parent ?? ""), enabled: run.parent !== null });
  const [withEqual, setWithEqual] = useUrlState("spec", flagCodec);
  const [find, setFind] = useUrlState("key", FIND);
  const rows = useMemo(
    () => specRows(run.spec, baseOf(experiment?.spec), parent?.spec ?? null),
    [run.spec, experiment, parent],
  );
  const different = rows.filter((row) => row.differsFromBase || row.differsFromParent);
  const shown = (withEqual || find ? rows : different).filter((row) => row.key.includes(find.toLowerCase()));
  return (
    <Panel
      title="Configuration"
      note={
        experiment &&
        `${different.length} of ${rows.length} keys differ from the base${run.parent ? " or the parent" : ""}`
      }
      flush
      actions={
        <>
          <Check label="All keys" checked={withEqual} onChange={setWithEqual} />
          <Input
            type="search"
            aria-label="Find a key"
            placeholder="Find a key"
            value={find}
            onChange={(event) => setFind(event.target.value)}
          />
        </>
      }
    >
      {shown.length > 0 && experiment ? (
        <SpecTable rows={shown} withParent={parent !== undefined} />
      ) : (
        experiment && <Empty title={find ? "There is no such key" : "It is as the experiment's base"} />
      )}
    </Panel>
  );
}

function SpecTable({ rows, withParent }: { rows: readonly SpecRow[]; withParent: boolean }) {
  return (
    <div className={css.specBox} tabIndex={0} role="region" aria-label="Configuration, scrollable">
      <table className={css.spec}>
        <thead>
          <tr>
            <th scope="col">Key</th>
            <th scope="col">This run</th>
            <th scope="col">Base</th>
            {withParent && <th scope="col">Parent</th>}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.key} className={cx((row.differsFromBase || row.differsFromParent) && css.differs)}>
              <th scope="row">{row.key}</th>
              <td>{row.value || <span className="muted">not set</span>}</td>
              <td>{row.differsFromBase ? row.base || "not set" : <span className="muted">same</span>}</td>
              {withParent && (
                <td>{row.differsFromParent ? row.parent || "not set" : <span className="muted">same</span>}</td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
