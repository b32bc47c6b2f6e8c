"""Opening the journal's SQLite file, and what SQLite's refusals mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

from gswarm.domain.errors import CorruptDataError, GswarmError, StorageError
from gswarm.host.journal.write_ahead import Log, read_log

RESTORE = "restore the last backup: gswarm host restore FILE --data-dir NEW"
_AGAIN = "then start the host again"
_HINTS = {
    "SQLITE_FULL": f"free space on its disk, {_AGAIN}",
    "SQLITE_IOERR_SHM": f"free space on its disk, {_AGAIN}",
    "SQLITE_IOERR": f"its disk reports errors or has become read-only: look at the kernel log, {_AGAIN}",
    "SQLITE_READONLY": f"make its disk writable, {_AGAIN}",
    "SQLITE_CANTOPEN": f"free space on its disk or correct its owner and mode, {_AGAIN}",
    "SQLITE_BUSY": f"end the program that holds it, {_AGAIN}",
    "SQLITE_CONSTRAINT": "another host writes to it: stop all but one",
}


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """A connection for the journal's one writer, in autocommit mode: whole, durable at each commit.

    Raises:
        CorruptDataError: the file is damaged.
        StorageError: it cannot be opened or written.
    """
    with database_errors(path):
        log = read_log(path)
        # The last connection that may write would merge what is valid of a damaged log and remove the rest: this one stays behind it.
        with closing(_reader(path)) if log is not None else nullcontext():
            return _open(path, schema, log)


def _open(path: Path, schema: str, log: Log | None) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        if log is not None:
            _busy, valid_frames, _copied = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            log.check(path, max(valid_frames, 0))
        # A damaged tree may hide its newest entries, which no checksum of an entry would notice.
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise CorruptDataError(f"{path} is damaged: {' '.join(str(found).split())}", RESTORE)
        db.executescript(schema)
    except BaseException:
        db.close()
        raise
    return db


def _reader(path: Path) -> sqlite3.Connection:
    """A connection that never writes, and has the file and its log open."""
    reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    try:
        reader.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except BaseException:
        reader.close()
        raise
    return reader


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite and the system raise in the block into typed errors; typed ones pass."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise database_error(path, error) from error


def database_error(path: Path, error: Exception) -> GswarmError:
    """What happened to the file, and what to do."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return CorruptDataError(f"the journal {path} is damaged: {error}", RESTORE)
    hint = next((text for start, text in _HINTS.items() if name.startswith(start)), _HINTS["SQLITE_CANTOPEN"])
    return StorageError(f"the journal {path} cannot be used: {error}", hint)
