"""Setting up a host from a backup: everything is checked before anything counts, and the plan begins a new epoch."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gswarm.datapool.disk import DiskStore
from gswarm.datapool.layout import CHUNK_BYTES, storage_errors, sync_folder
from gswarm.domain.errors import ConflictError, CorruptDataError
from gswarm.domain.ids import Digest
from gswarm.host.backup.archive import Contents, Member, copy_private, read_archive
from gswarm.host.backup.take import FOLDERS, PLAN
from gswarm.host.journal.decisions import decisions_digest
from gswarm.host.journal.protocol import Entry
from gswarm.host.journal.snapshot import encode_state, open_state
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.events import PlanRestored
from gswarm.wire.tls import CertificateAuthority

HOST = "host"
_NOT_OURS = frozenset({"lost+found"})


@dataclass(frozen=True, slots=True)
class Restored:
    """A data directory that a host can be started from. ``events`` counts the restore itself."""

    data_dir: Path
    contents: Contents
    events: int
    epoch: int
    runs: int


def restore_backup(path: Path, data_dir: Path, wall_s: Callable[[], float] = time.time) -> Restored:
    """Unpacks a backup into an empty data directory and begins a new epoch of its plan (``gswarm.domain.epochs``).

    Raises:
        ConflictError: the directory is not empty.
        NotFoundError: there is no such backup.
        CorruptDataError: it is not as it was written; nothing is left behind.
        IncompatibleVersionError: a newer gswarm wrote it.
        StorageError: the directory cannot be written.
    """
    data_dir = data_dir.expanduser().absolute()
    stage = data_dir / f".restore-{secrets.token_hex(8)}"
    with storage_errors(f"restore into {data_dir}"):
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_empty(data_dir)
        stage.mkdir(mode=0o700)
    try:
        contents = _unpack(path, stage)
        state, events = _begin_epoch(stage, contents, wall_s)
        with storage_errors(f"restore into {data_dir}"):
            _check_empty(data_dir, stage.name)
            # The host's own folder makes it a host's data directory: it comes last.
            for part in sorted(stage.iterdir(), key=lambda part: part.name == HOST):
                part.rename(data_dir / part.name)
            sync_folder(data_dir)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return Restored(data_dir, contents, events, state.epoch, len(state.runs))


def _check_empty(data_dir: Path, stage: str = "") -> None:
    found = sorted(entry.name for entry in data_dir.iterdir() if entry.name not in _NOT_OURS | {stage})
    if found:
        raise ConflictError(f"the data directory {data_dir} is not empty: it has {found[0]}", "restore into a new one with --data-dir")


def _unpack(path: Path, stage: Path) -> Contents:
    store = DiskStore(stage / "pool")
    try:

        def place(member: Member, source: IO[bytes]) -> None:
            if member.name.startswith("pool/"):
                _put(store, Digest(member.name.removeprefix("pool/")), source)
                return
            target = stage / member.name
            with storage_errors(f"write {target}"):
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            copy_private(source, target)

        return read_archive(path, place)
    finally:
        store.close()


def _put(store: DiskStore, digest: Digest, source: IO[bytes]) -> None:
    with store.ingest() as ingest:
        while piece := source.read(CHUNK_BYTES):
            ingest.write(piece)
        ingest.commit(digest)


def _begin_epoch(stage: Path, contents: Contents, wall_s: Callable[[], float]) -> tuple[ClusterState, int]:
    authority = CertificateAuthority.load(stage / HOST / "tls")
    if authority.cluster_id != contents.cluster_id or not (stage / PLAN).is_file():
        raise CorruptDataError("the backup's plan and identity do not belong together", "use another backup")
    with closing(SqliteJournal(stage / PLAN, contents.cluster_id)) as journal:
        state, seq = open_state(journal)
        now_s = wall_s()
        event = PlanRestored(max(int(now_s), state.epoch + 1))
        # As the loop does: no event is stamped earlier than the one before it.
        last_s = max((entry.now_s for entry in journal.read(seq - 1)), default=0.0) if seq > journal.trimmed_seq else 0.0
        stamp_s = max(now_s, last_s)
        effects = state.step(event, stamp_s)
        seq = journal.append([Entry(stamp_s, event, decisions_digest(effects))])
        journal.save_snapshot(seq, encode_state(state))
    with storage_errors(f"restore into {stage.parent}"):
        for folder in (stage, *(path for part in FOLDERS for path in (stage / part).rglob("*") if path.is_dir())):
            sync_folder(folder)
    return state, seq
