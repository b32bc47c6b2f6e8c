"""The journal in SQLite: WAL, ``synchronous=FULL``, one transaction a batch, a checksum an entry; snapshots are files beside it."""

from __future__ import annotations

import os
import sqlite3
import struct
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from blake3 import blake3

from gswarm.domain.errors import ConflictError, CorruptDataError, GswarmError, IncompatibleVersionError, StorageError
from gswarm.host.journal.codec import decode, encode
from gswarm.host.journal.protocol import Entry, JournalEntry
from gswarm.scheduler.events import Event

FORMAT = 1
SNAPSHOTS_KEPT = 2
CHECKSUM_BYTES = 16
READ_PAGE_ENTRIES = 500

_CONSTANT = "constant."
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (seq INTEGER PRIMARY KEY, now_s REAL NOT NULL, event TEXT NOT NULL, checksum BLOB NOT NULL);
"""


class SqliteJournal:
    """A ``Journal`` in the file ``path``; snapshots are in ``path``'s folder under ``snapshots/``.

    Args:
        cluster_id: the cluster the file must belong to; a new file is given it (a random one if ``None``).
        constants: what a new plan begins with; a file that has a plan keeps its own.

    Raises:
        ConflictError: the file belongs to another cluster.
        IncompatibleVersionError: a newer gswarm wrote it.
        StorageError: it cannot be opened or written.
    """

    def __init__(self, path: Path, cluster_id: str | None = None, constants: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._snapshots = path.parent / "snapshots"
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._snapshots.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self.cluster_id = self._identify(cluster_id, constants or {})
            self._last_seq: int = self._db.execute("SELECT COALESCE(MAX(seq), 0) FROM entries").fetchone()[0]
        except (sqlite3.Error, OSError) as error:
            raise _storage_error(path, error) from error

    def _identify(self, cluster_id: str | None, constants: Mapping[str, str]) -> str:
        found: dict[str, str] = dict(self._db.execute("SELECT key, value FROM meta"))
        if not found:
            found = {"cluster_id": cluster_id or uuid.uuid4().hex, "format": str(FORMAT)}
            found |= {_CONSTANT + key: value for key, value in constants.items()}
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT INTO meta VALUES (?, ?)", sorted(found.items()))
        if int(found["format"]) > FORMAT:
            raise IncompatibleVersionError(f"{self._path} has format {found['format']}, this gswarm knows {FORMAT}", "start a newer gswarm")
        if cluster_id is not None and found["cluster_id"] != cluster_id:
            raise ConflictError(
                f"{self._path} belongs to cluster {found['cluster_id']}, not to {cluster_id}", "choose the data directory of this cluster"
            )
        self.constants = {key.removeprefix(_CONSTANT): value for key, value in found.items() if key.startswith(_CONSTANT)}
        return found["cluster_id"]

    @property
    def last_seq(self) -> int:
        return self._last_seq

    def append(self, entries: Sequence[Entry]) -> int:
        with self._lock:
            first = self._last_seq + 1
            rows = []
            for seq, entry in enumerate(entries, first):
                text = encode(entry.event)
                rows.append((seq, entry.now_s, text, _checksum(seq, entry.now_s, text)))
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise _storage_error(self._path, error) from error
            self._last_seq += len(rows)
            return self._last_seq

    def read(self, after_seq: int = 0) -> Iterator[JournalEntry]:
        last = self._last_seq
        expected = after_seq + 1
        while expected <= last:
            rows = self._page(expected, min(last, expected + READ_PAGE_ENTRIES - 1))
            for seq, now_s, text, checksum in rows:
                if seq != expected:
                    break
                if _checksum(seq, now_s, text) != checksum:
                    raise CorruptDataError(f"entry {seq} of {self._path} is damaged: its checksum differs", "restore the last backup")
                yield JournalEntry(seq, now_s, _decode(seq, text))
                expected += 1
            else:
                if rows:
                    continue
            raise CorruptDataError(f"entry {expected} of {self._path} is missing", "restore the last backup")

    def _page(self, first: int, last: int) -> list[tuple[int, float, str, bytes]]:
        """Read on a connection of its own: readers never wait for the writer's flush."""
        try:
            db = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5.0)
            try:
                query = "SELECT seq, now_s, event, checksum FROM entries WHERE seq BETWEEN ? AND ? ORDER BY seq"
                return db.execute(query, (first, last)).fetchall()
            finally:
                db.close()
        except sqlite3.Error as error:
            raise _storage_error(self._path, error) from error

    def save_snapshot(self, seq: int, payload: bytes) -> None:
        path = self._snapshot_path(seq)
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                file.write(blake3(payload).digest())
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
            _sync_directory(self._snapshots)
            for old in self._snapshot_files()[SNAPSHOTS_KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise _storage_error(path, error) from error

    def newest_snapshot(self, before_seq: int | None = None) -> tuple[int, bytes] | None:
        for path in self._snapshot_files():
            seq = int(path.stem)
            # A snapshot ahead of the journal belongs to entries that a restore took back.
            if seq > self._last_seq or (before_seq is not None and seq >= before_seq):
                continue
            try:
                content = path.read_bytes()
            except OSError:
                continue
            if blake3(content[32:]).digest() == content[:32]:
                return seq, content[32:]
        return None

    def _snapshot_path(self, seq: int) -> Path:
        return self._snapshots / f"{seq:016d}.snapshot"

    def _snapshot_files(self) -> list[Path]:
        return sorted(self._snapshots.glob("*.snapshot"), reverse=True)

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._db.close()


def _checksum(seq: int, now_s: float, text: str) -> bytes:
    return blake3(struct.pack("<qd", seq, now_s) + text.encode()).digest(CHECKSUM_BYTES)


def _decode(seq: int, text: str) -> Event:
    try:
        return decode(text)
    except GswarmError as error:
        raise type(error)(f"entry {seq}: {error.message}", error.hint) from error


def _storage_error(path: Path, error: Exception) -> StorageError:
    return StorageError(
        f"the journal {path} cannot be used: {error}", "free space on its disk or correct its owner and mode, then start the host again"
    )


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
