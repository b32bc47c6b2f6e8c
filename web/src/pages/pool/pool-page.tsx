/** Bytes by digest: what the plan refers to, where it is, and who was refused. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { hostQuery } from "@/api/cluster";
import { poolQuery, type PoolView } from "@/api/pool";
import { Page } from "@/app/page";
import { formatTime, plural } from "@/lib/format";
import { ErrorNotice } from "@/ui/notice";
import { Panel } from "@/ui/panel";
import { ManifestsPanel } from "./manifests-panel";
import { DIGEST_SHOWN } from "./pool-model";
import css from "./pool.module.css";
import { Totals } from "./totals";

export function Component() {
  const { data: pool, error } = useQuery(poolQuery);
  const { data: host } = useQuery(hostQuery);
  return (
    <Page title="Data pool" note="What the plan refers to; manifests may share files, which are stored once">
      {error && !pool && <ErrorNotice error={error} />}
      <Totals pool={pool} host={host} />
      <ManifestsPanel />
      {pool && <Refused pool={pool} />}
    </Page>
  );
}

function Refused({ pool }: { pool: PoolView }) {
  return (
    <Panel
      title="Refused transfers"
      note={
        pool.refused_transfers === 0
          ? "none since the host began"
          : `${pool.refused_transfers.toLocaleString("en")} since the host began`
      }
      flush
    >
      {pool.refused.length > 0 && (
        <ul className={css.refused}>
          {pool.refused.map((one, index) => (
            <li key={index}>
              <span className="muted">{formatTime(one.at)}</span>
              <Link to={`/clients/${one.client}`}>{one.client}</Link>
              <span>
                {one.action === "fetch"
                  ? "asked for a blob that none of its grants and jobs needs"
                  : "brought a blob without a grant or job"}
              </span>
              <code title={one.digest}>{one.digest.slice(0, DIGEST_SHOWN)}</code>
            </li>
          ))}
        </ul>
      )}
      {pool.refused_transfers > pool.refused.length && pool.refused.length > 0 && (
        <p className={css.more}>{`The newest ${plural(pool.refused.length, "refusal")} are shown.`}</p>
      )}
    </Panel>
  );
}
