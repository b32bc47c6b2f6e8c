import { useQuery } from "@tanstack/react-query";
import { poolFilesQuery, poolFileUrl, type PoolManifestView } from "@/api/pool";
import { mayAct, whoamiQuery } from "@/api/session";
import { formatBytes, plural } from "@/lib/format";
import { CopyButton } from "@/ui/copy-button";
import { Dialog } from "@/ui/dialog";
import { ErrorNotice } from "@/ui/notice";
import css from "./pool.module.css";

const SHOWN_MAX = 500;

/** The files behind a manifest, to be looked at and fetched. */
export function FilesDialog({ item, onClose }: { item: Pick<PoolManifestView, "manifest" | "kind">; onClose(): void }) {
  const { data: who } = useQuery(whoamiQuery);
  const isOperator = mayAct(who, "operator");
  const { data, error } = useQuery({ ...poolFilesQuery(item.manifest), enabled: isOperator, retry: false });
  const files = data?.files ?? [];
  return (
    <Dialog
      open
      onClose={onClose}
      title={`Files of this ${item.kind}`}
      note={
        <span className={css.whole}>
          <code>{item.manifest}</code>
          <CopyButton text={item.manifest} label="Copy the digest" plain />
        </span>
      }
    >
      {!isOperator && <p className="muted">Only operators see and fetch files.</p>}
      {error && !data && <ErrorNotice error={error} />}
      {data && (
        <p className="muted">
          {`${plural(files.length, "file")}, ${formatBytes(files.reduce((sum, file) => sum + file.size_bytes, 0))}`}
        </p>
      )}
      <ul className={css.files}>
        {files.slice(0, SHOWN_MAX).map((file) => (
          <li key={file.name}>
            <a href={poolFileUrl(item.manifest, file.name)} download={file.name.split("/").at(-1)}>
              {file.name}
            </a>
            <span className="muted">{formatBytes(file.size_bytes)}</span>
          </li>
        ))}
      </ul>
      {files.length > SHOWN_MAX && <p className="muted">{`and ${files.length - SHOWN_MAX} more`}</p>}
    </Dialog>
  );
}
