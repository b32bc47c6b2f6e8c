import type { HostView } from "@/api/cluster";
import type { PoolView } from "@/api/pool";
import { formatBytes, NONE, plural } from "@/lib/format";
import { Progress } from "@/ui/state";
import { KIND_WORDS, sumOf } from "./pool-model";
import css from "./pool.module.css";

/** One number for each kind, and what is left on the disk. */
export function Totals({ pool, host }: { pool: PoolView | undefined; host: HostView | undefined }) {
  const disk = host?.disks.pool;
  return (
    <div className={css.totals}>
      {(pool?.totals ?? []).map((total) => (
        <dl key={total.kind} className={css.total}>
          <dt>{KIND_WORDS[total.kind].one}</dt>
          <dd>
            {total.manifests === total.unknown && total.manifests > 0 ? NONE : formatBytes(total.size_bytes)}
            <small>{plural(total.manifests, "manifest")}</small>
          </dd>
          <dd className={css.about}>
            {total.unknown > 0 ? `${total.unknown} of unknown size` : KIND_WORDS[total.kind].about}
          </dd>
        </dl>
      ))}
      <dl className={css.total}>
        <dt>Disk of the pool</dt>
        <dd>
          {formatBytes(disk?.free_bytes)}
          <small>free</small>
        </dd>
        <dd className={css.about}>
          {disk && (
            <Progress share={1 - disk.free_bytes / Math.max(1, disk.total_bytes)} label="Used of the pool's disk" />
          )}
          {`of ${formatBytes(disk?.total_bytes)}${pool ? `; the pool's manifests name ${formatBytes(sumOf(pool.totals).bytes)}` : ""}`}
        </dd>
      </dl>
    </div>
  );
}
