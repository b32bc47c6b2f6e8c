"""The journal in SQLite: WAL, ``synchronous=FULL``, one transaction a batch, a checksum an entry; snapshots are files beside it."""

from __future__ import annotations

import logging
import sqlite3
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from blake3 import blake3

from gswarm import __version__
from gswarm.domain.errors import CorruptDataError, GswarmError, NotFoundError
from gswarm.host.journal.codec import decode, encode
from gswarm.host.journal.database import RESTORE, database_errors, open_database
from gswarm.host.journal.head import open_head
from gswarm.host.journal.protocol import Entry, JournalEntry
from gswarm.host.journal.snapshot_files import KEPT, SnapshotFiles
from gswarm.scheduler.events import Event

CHECKSUM_BYTES = 16
READ_PAGE_ENTRIES = 500
ENTRIES_KEPT = 10_000
"""Who follows the events may be this far behind and still go on without a gap; older ones go once two snapshots hold what they led to."""
TRIM_PAGE_ENTRIES = 1_000
"""Removed in one transaction: appends wait no longer than that takes."""

_log = logging.getLogger("gswarm.host.journal")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
  seq INTEGER PRIMARY KEY, now_s REAL NOT NULL, event TEXT NOT NULL, checksum BLOB NOT NULL, decided BLOB NOT NULL DEFAULT x''
);
"""


class SqliteJournal:
    """A ``Journal`` in the file ``path``; snapshots are in ``path``'s folder under ``snapshots/``.

    Args:
        cluster_id: the cluster the file must belong to; a new file is given it (a random one if ``None``).
        constants: what a new plan begins with; a file that has a plan keeps its own.
        version: written down as the writer of what is appended.
        entries_kept: how many of the newest entries are never trimmed.

    Raises:
        ConflictError: the file belongs to another cluster.
        IncompatibleVersionError: a newer gswarm wrote it.
        CorruptDataError: it is damaged.
        StorageError: it cannot be opened or written.
    """

    def __init__(
        self,
        path: Path,
        cluster_id: str | None = None,
        constants: Mapping[str, str] | None = None,
        *,
        version: str = __version__,
        entries_kept: int = ENTRIES_KEPT,
    ) -> None:
        self._path = path
        self._version = version
        self._entries_kept = entries_kept
        self._lock = threading.Lock()
        self._closed = False
        self._snapshots = SnapshotFiles(path.parent / "snapshots")
        self._db = open_database(path, _SCHEMA)
        try:
            with database_errors(path):
                self._head = open_head(self._db, path, cluster_id, constants or {})
                self._last_seq: int = self._db.execute("SELECT COALESCE(MAX(seq), ?) FROM entries", (self._head.trimmed_seq,)).fetchone()[0]
            for seq in self._snapshots.set_aside(self._last_seq):
                _log.warning("%s ends at entry %d, before the snapshot of entry %d: that one was set aside", path, self._last_seq, seq)
        except BaseException:
            self._db.close()
            raise

    @property
    def cluster_id(self) -> str:
        return self._head.cluster_id

    @property
    def constants(self) -> Mapping[str, str]:
        return self._head.constants

    @property
    def last_seq(self) -> int:
        return self._last_seq

    @property
    def trimmed_seq(self) -> int:
        return self._head.trimmed_seq

    def writer_of(self, seq: int) -> str:
        return self._head.writer_of(seq)

    def append(self, entries: Sequence[Entry]) -> int:
        with self._lock:
            first = self._last_seq + 1
            rows = []
            for seq, entry in enumerate(entries, first):
                text = encode(entry.event)
                rows.append((seq, entry.now_s, text, _checksum(seq, entry.now_s, text, entry.decided), entry.decided))
            head = self._head.wrote(first, self._version)
            with database_errors(self._path), _Transaction(self._db) as db:
                if head is not self._head:
                    head.save(db)
                db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows)
            self._head = head
            self._last_seq += len(rows)
            return self._last_seq

    def read(self, after_seq: int = 0) -> Iterator[JournalEntry]:
        last = self._last_seq
        expected = after_seq + 1
        while expected <= last:
            if expected <= self.trimmed_seq:
                raise NotFoundError(f"event {expected} is not kept any more", f"the oldest that is kept is {self.trimmed_seq + 1}")
            rows = self._page(expected, min(last, expected + READ_PAGE_ENTRIES - 1))
            for seq, now_s, text, checksum, decided in rows:
                if seq != expected:
                    break
                if _checksum(seq, now_s, text, decided) != checksum:
                    raise CorruptDataError(f"entry {seq} of {self._path} is damaged: its checksum differs", RESTORE)
                yield JournalEntry(seq, now_s, _decode(seq, text), decided)
                expected += 1
            else:
                if rows:
                    continue
            if expected > self.trimmed_seq:
                raise CorruptDataError(f"entry {expected} of {self._path} is missing", RESTORE)

    def _page(self, first: int, last: int) -> list[tuple[int, float, str, bytes, bytes]]:
        """Read on a connection of its own: readers never wait for the writer's flush."""
        with database_errors(self._path):
            db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
            try:
                query = "SELECT seq, now_s, event, checksum, decided FROM entries WHERE seq BETWEEN ? AND ? ORDER BY seq"
                return db.execute(query, (first, last)).fetchall()
            except UnicodeDecodeError as error:
                raise CorruptDataError(f"an entry of {self._path} between {first} and {last} is damaged: {error}", RESTORE) from error
            finally:
                db.close()

    def save_snapshot(self, seq: int, payload: bytes) -> None:
        self._snapshots.save(seq, payload)
        self._trim()

    def _trim(self) -> None:
        """Removes what the older snapshot holds and no reader may ask for. A snapshot that is damaged holds nothing."""
        seqs = [seq for seq, _payload in self._snapshots.intact()]
        if len(seqs) < KEPT:
            return
        end = min(seqs[-1], self._last_seq - self._entries_kept)
        while self.trimmed_seq < end:
            page_end = min(end, self.trimmed_seq + TRIM_PAGE_ENTRIES)
            with self._lock:
                head = self._head.trimmed(page_end)
                with database_errors(self._path), _Transaction(self._db) as db:
                    head.save(db)
                    db.execute("DELETE FROM entries WHERE seq <= ?", (page_end,))
                self._head = head

    def newest_snapshot(self, before_seq: int | None = None) -> tuple[int, bytes] | None:
        for seq, payload in self._snapshots.intact():
            # A snapshot ahead of the journal belongs to entries that a restore took back; what follows a very old one is not kept.
            if self.trimmed_seq <= seq <= self._last_seq and (before_seq is None or seq < before_seq):
                return seq, payload
        return None

    def snapshot_saved(self) -> tuple[int, float] | None:
        """``seq`` of the newest snapshot, and when it was saved in seconds since the epoch."""
        seqs = [seq for seq, _path in self._snapshots.paths() if seq <= self._last_seq]
        saved_at_s = self._snapshots.saved_at_s()
        return (seqs[0], saved_at_s) if seqs and saved_at_s is not None else None

    def size_bytes(self) -> int:
        """Of the entries on disk, without snapshots."""
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._db.close()


class _Transaction:
    """``with`` commits, an exception rolls back."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def _checksum(seq: int, now_s: float, text: str, decided: bytes) -> bytes:
    return blake3(struct.pack("<qd", seq, now_s) + text.encode() + decided).digest(CHECKSUM_BYTES)


def _decode(seq: int, text: str) -> Event:
    try:
        return decode(text)
    except GswarmError as error:
        raise type(error)(f"entry {seq}: {error.message}", error.hint) from error
