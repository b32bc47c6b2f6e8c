"""Taking a backup of a data directory, whether its host runs or not.

The plan is copied in one go by SQLite and replayed before anything else, so a backup that was written can be restored. Nothing that it
refers to is swept meanwhile: every blob is renewed first, and the sweep spares the young.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gswarm import __version__
from gswarm.datapool.disk import DiskStore
from gswarm.datapool.layout import storage_errors
from gswarm.datapool.manifest import manifest_entries
from gswarm.domain.errors import ConflictError, CorruptDataError, NotFoundError, StorageError
from gswarm.domain.ids import Digest
from gswarm.host.backup.archive import PLACE, Contents, Writer, new_archive
from gswarm.host.journal.database import database_errors
from gswarm.host.journal.snapshot import encode_state, open_state
from gswarm.host.journal.snapshot_files import ASIDE_SUFFIX
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.host.locks import DirectoryLock
from gswarm.wire.tls import CertificateAuthority

COPY_TRIES = 3
"""While the copy is made the host may replace the snapshot that it needs; then it is made again."""
FOLDERS = ("host", "series", "logs")
ABSENT = frozenset({"lock", "endpoint.json", "last_words.json", "logins.json"})
"""What belongs to the running process, and who is logged in: a host that is restored asks everybody again."""
PLAN = Path("host/journal.db")
_DATABASE, _BESIDE = ".db", ("-wal", "-shm", "-journal", ".partial")

_log = logging.getLogger("gswarm.host.backup")


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that is complete on disk."""

    path: Path
    size_bytes: int
    contents: Contents
    blobs: int


def take_backup(data_dir: Path, path: Path, *, with_blobs: bool = True) -> Taken:
    """Writes the plan, identity, tokens, metrics and logs of a host to ``path``, and every blob that the plan refers to.

    Args:
        with_blobs: without them the backup is small; what it restores goes on with the clients' copies.

    Raises:
        NotFoundError: there is no host's data in ``data_dir``.
        CorruptDataError, IncompatibleVersionError: its plan cannot be read.
        StorageError: there is no room for the backup, or something cannot be read.
    """
    data_dir = data_dir.expanduser().absolute()
    with storage_errors(f"read {data_dir}"):
        is_there = (data_dir / PLAN).is_file()
    if not is_there:
        raise NotFoundError(f"{data_dir} holds no host's data", "name its folder with --data-dir")
    with _staging(path) as stage:
        events, roots = _copy_plan(data_dir, stage)
        blobs, missing = _blobs(data_dir, roots) if with_blobs else ([], 0)
        store = data_dir / "pool" / "blobs"
        need_bytes = sum(_size(file) for _name, file in _files(data_dir)) + sum(_size(store / one[:2] / one) for one in blobs)
        _check_room(path, need_bytes)
        contents = Contents(
            gswarm=__version__,
            cluster_id=CertificateAuthority.load(data_dir / "host" / "tls").cluster_id,
            taken_at_s=time.time(),
            events=events,
            missing_blobs=missing,
        )
        with new_archive(path) as writer:
            _add_files(writer, data_dir, stage)
            for blob in blobs:
                _add_blob(writer, store, blob)
            contents = contents.model_copy(update={"members": tuple(writer.members)})
            writer.finish(contents)
    return Taken(path, path.stat().st_size, contents, len(blobs))


@contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """A private folder beside the backup, where databases are copied to."""
    stage = path.absolute().with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    with storage_errors(f"write to {path.parent}"):
        stage.mkdir(mode=0o700)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _copy_plan(data_dir: Path, stage: Path) -> tuple[int, tuple[Digest, ...]]:
    """The journal as it is at one moment, proven by a replay and with a snapshot of its end. Its newest event, and the live roots."""
    for remaining in reversed(range(COPY_TRIES)):
        shutil.rmtree(stage / "host", ignore_errors=True)
        snapshots = stage / "host" / "snapshots"
        with storage_errors("copy the plan"):
            snapshots.mkdir(mode=0o700, parents=True)
            for file in sorted((data_dir / "host" / "snapshots").glob("*.snapshot")):
                try:
                    shutil.copyfile(file, snapshots / file.name)
                except FileNotFoundError:
                    _log.debug("the snapshot %s has just been replaced", file.name)
        _copy_journal(data_dir, stage / PLAN)
        try:
            with closing(SqliteJournal(stage / PLAN)) as journal:
                _check_end(data_dir, journal, snapshots)
                state, seq = open_state(journal)
                # Whatever version restores it has nothing to decide again.
                journal.save_snapshot(seq, encode_state(state))
        except CorruptDataError:
            if not remaining:
                raise
            continue
        return seq, state.live_roots()
    raise AssertionError("the last try returns or raises")


def _copy_journal(data_dir: Path, target: Path) -> None:
    """Where no host runs its write-ahead log goes along as it is, so that whoever opens the copy looks for damage in it.

    A running host has looked already, and SQLite knows what of the log is valid; after one that was killed it would only guess.
    """
    try:
        lock = DirectoryLock(data_dir / "host")
    except ConflictError:
        copy_database(data_dir / PLAN, target)
        return
    with lock, storage_errors("copy the plan"):
        for suffix in ("", "-wal"):
            source = data_dir / f"{PLAN}{suffix}"
            if source.exists():
                shutil.copyfile(source, target.with_name(f"{target.name}{suffix}"))


def _check_end(data_dir: Path, journal: SqliteJournal, snapshots: Path) -> None:
    """Snapshots were copied first: none can be of an event that the journal, copied after them, does not have yet."""
    if any(snapshots.glob(f"*{ASIDE_SUFFIX}")):
        raise CorruptDataError(
            f"the plan in {data_dir} ends at event {journal.last_seq}, before a snapshot that was made of it",
            "restore the last backup; if an older journal was put there on purpose, start the host once before you take a backup",
        )


def copy_database(source: Path, target: Path) -> None:
    """A SQLite file as it is at one moment, also while others write to it. Raises StorageError, CorruptDataError."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with database_errors(source), closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)) as reader:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(target)) as writer:
            reader.backup(writer)
            # A single file: nothing of the copy stays in a write-ahead log.
            writer.execute("PRAGMA journal_mode=DELETE")


def _blobs(data_dir: Path, roots: tuple[Digest, ...]) -> tuple[list[Digest], int]:
    """What the roots reach and the pool has intact, renewed so that no sweep takes it for an hour; and how many it has not."""
    store = DiskStore(data_dir / "pool")
    try:
        reached: dict[Digest, None] = {}
        for root in roots:
            reached[root] = None
            if store.has(root):
                reached.update(dict.fromkeys(_entries(store, root)))
        there = [digest for digest in sorted(reached) if store.renew(digest)]
        intact = [digest for digest in there if store.verify(digest)]
        return intact, len(reached) - len(intact)
    finally:
        store.close()


def _entries(store: DiskStore, root: Digest) -> tuple[Digest, ...]:
    try:
        return tuple(manifest_entries(store, root))
    except CorruptDataError:
        return ()


def _files(data_dir: Path) -> Iterator[tuple[str, Path]]:
    """``(name, file)`` of all but the pool; snapshots come with the copied plan."""
    for folder in FOLDERS:
        for parent, folders, files in os.walk(data_dir / folder):
            folders[:] = sorted(name for name in folders if name != "snapshots")
            for name in sorted(files):
                path = Path(parent, name)
                place = path.relative_to(data_dir).as_posix()
                hidden = not re.fullmatch(PLACE, place) or name.endswith(_BESIDE) or (folder == "host" and name in ABSENT)
                if not hidden and path.is_file() and not path.is_symlink():
                    yield place, path


def _add_files(writer: Writer, data_dir: Path, stage: Path) -> None:
    for snapshot in sorted((stage / "host" / "snapshots").iterdir()):
        writer.add(f"host/snapshots/{snapshot.name}", snapshot)
    for name, path in _files(data_dir):
        if path.suffix == _DATABASE and not (stage / name).exists():
            copy_database(path, stage / name)
        try:
            writer.add(name, stage / name if path.suffix == _DATABASE else path)
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise


def _add_blob(writer: Writer, blobs: Path, digest: Digest) -> None:
    member = writer.add(f"pool/{digest}", blobs / digest[:2] / digest)
    if member.digest != digest:
        raise CorruptDataError(f"blob {digest} changed while it was copied", "take the backup again")


def _check_room(path: Path, need_bytes: int) -> None:
    with storage_errors(f"write to {path.parent}"):
        disk = os.statvfs(path.absolute().parent)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < need_bytes:
        raise StorageError(
            f"the backup needs {need_bytes >> 20} MiB and {path.absolute().parent} has {free_bytes >> 20} MiB",
            "write it to another disk, or leave the blobs out with --without-blobs",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
