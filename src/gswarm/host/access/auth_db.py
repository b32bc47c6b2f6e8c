"""The file ``auth.db``: tokens and the names of clients, in the present form or brought into it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gswarm.domain.errors import IncompatibleVersionError, StorageError

FORMAT = 1
"""``PRAGMA user_version`` of the file. 0: secrets as SHA-256, names without what tells one joining from another."""

_SCHEMA = """
CREATE TABLE tokens (
  id TEXT PRIMARY KEY, secret_hash TEXT NOT NULL, role TEXT NOT NULL, created_at_s REAL NOT NULL,
  expires_at_s REAL, uses_left INTEGER, client TEXT, revoked_at_s REAL, last_used_at_s REAL
) WITHOUT ROWID;
CREATE TABLE names (
  name TEXT PRIMARY KEY, token_id TEXT NOT NULL, joined_at_s REAL NOT NULL, enrolment TEXT NOT NULL DEFAULT '', revoked_at_s REAL
) WITHOUT ROWID;
"""
_FROM_0 = """
ALTER TABLE tokens RENAME COLUMN secret_digest TO secret_hash;
ALTER TABLE names ADD COLUMN enrolment TEXT NOT NULL DEFAULT '';
ALTER TABLE names ADD COLUMN revoked_at_s REAL;
"""


class AuthDb:
    """Transactions on the file, one at a time. Safe to call from several threads.

    Args:
        hash_secret: makes the hash that is kept of a secret's digest; called while a file of before is brought into the present form.
        now: seconds since the epoch.

    Raises:
        IncompatibleVersionError: a newer gswarm wrote the file.
        StorageError: it cannot be opened or written.
    """

    def __init__(self, path: Path, hash_secret: Callable[[str], str], now: Callable[[], float]) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._errors():
            path.touch(mode=0o600, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            # What was hashed too weakly must not stay behind in a free page.
            self._db.execute("PRAGMA secure_delete=ON")
        with self.transaction() as db:
            _bring_up_to_date(db, path, hash_secret, now())
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, on disk when it ends. Raises StorageError."""
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"the tokens in {self._path} cannot be used: {error}", "correct the file's owner and mode, or free space"
            ) from error


def _bring_up_to_date(db: sqlite3.Connection, path: Path, hash_secret: Callable[[str], str], now_s: float) -> None:
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    if found > FORMAT:
        raise IncompatibleVersionError(f"{path} has format {found}, this gswarm knows {FORMAT}", "start a newer gswarm")
    if found == FORMAT:
        return
    is_new = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'tokens'").fetchone() is None
    # executescript would commit in between.
    for statement in (_SCHEMA if is_new else _FROM_0).split(";"):
        db.execute(statement)
    if not is_new:
        _hash_secrets(db, hash_secret, now_s)
    db.execute(f"PRAGMA user_version = {FORMAT}")


def _hash_secrets(db: sqlite3.Connection, hash_secret: Callable[[str], str], now_s: float) -> None:
    """The secrets themselves are not known: their digests are hashed, as those of new tokens are. Ended tokens keep nothing."""
    rows = db.execute("SELECT id, secret_hash, COALESCE(revoked_at_s, expires_at_s, 1e18), uses_left FROM tokens").fetchall()
    for token_id, digest, ended_at_s, uses_left in rows:
        kept = "" if ended_at_s <= now_s or uses_left == 0 else hash_secret(digest)
        db.execute("UPDATE tokens SET secret_hash = ? WHERE id = ?", (kept, token_id))
