"""The journal's head: whose it is, what it was begun with, who wrote which entries, and where it begins. Sealed with a digest."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from blake3 import blake3

from gswarm.domain.errors import ConflictError, CorruptDataError, IncompatibleVersionError
from gswarm.host.journal.database import RESTORE

FORMAT = 2
"""1: without ``decided``, a seal and trimming."""

_CONSTANT = "constant."
_WRITER = "writer."
_TRIMMED = "trimmed_seq"
_SEAL = "seal"


@dataclass(frozen=True, slots=True)
class Head:
    """The rows of ``meta``, all but the seal. A changed head is another object: it holds once its transaction is done."""

    values: Mapping[str, str]

    @property
    def cluster_id(self) -> str:
        return self.values["cluster_id"]

    @property
    def constants(self) -> Mapping[str, str]:
        return {key.removeprefix(_CONSTANT): value for key, value in self.values.items() if key.startswith(_CONSTANT)}

    @property
    def trimmed_seq(self) -> int:
        return int(self.values.get(_TRIMMED, "0"))

    def writer_of(self, seq: int) -> str:
        """The version that wrote entry ``seq``, or an empty text."""
        began = [(first, version) for first, version in self._writers() if first <= seq]
        return began[-1][1] if began else ""

    def wrote(self, first_seq: int, version: str) -> Head:
        """From ``first_seq`` on that version writes."""
        writers = self._writers()
        if writers and writers[-1][1] == version:
            return self
        return Head({**self.values, f"{_WRITER}{first_seq:016d}": version})

    def trimmed(self, seq: int) -> Head:
        """Entries up to ``seq`` are gone; so is the memory of who wrote those before."""
        writers = self._writers()
        over = [first for (first, _), (following, _) in pairwise(writers) if following <= seq + 1]
        kept = {key: value for key, value in self.values.items() if key not in {f"{_WRITER}{first:016d}" for first in over}}
        return Head({**kept, _TRIMMED: str(seq)})

    def _writers(self) -> list[tuple[int, str]]:
        return sorted((int(key.removeprefix(_WRITER)), value) for key, value in self.values.items() if key.startswith(_WRITER))

    def save(self, db: sqlite3.Connection) -> None:
        """Takes the place of the head on disk; inside the caller's transaction."""
        db.execute("DELETE FROM meta")
        db.executemany("INSERT INTO meta VALUES (?, ?)", sorted({**self.values, _SEAL: _seal(self.values)}.items()))


def open_head(db: sqlite3.Connection, path: Path, cluster_id: str | None, constants: Mapping[str, str]) -> Head:
    """The head of an open journal; a new one gets its own.

    Raises:
        ConflictError: the journal belongs to another cluster.
        IncompatibleVersionError: a newer gswarm wrote it.
        CorruptDataError: it is not as it was written.
    """
    found: dict[str, str] = dict(db.execute("SELECT key, value FROM meta"))
    if not found:
        values = {"cluster_id": cluster_id or uuid.uuid4().hex, "format": str(FORMAT)}
        found = _begin(db, values | {_CONSTANT + key: value for key, value in constants.items()})
    elif found.get("format") == "1":
        found = _begin(db, found | {"format": str(FORMAT)})
    if found.get("format", "").isdecimal() and int(found["format"]) > FORMAT:
        raise IncompatibleVersionError(f"{path} has format {found['format']}, this gswarm knows {FORMAT}", "start a newer gswarm")
    if found.pop(_SEAL, "") != _seal(found):
        raise CorruptDataError(f"the head of {path} is damaged", RESTORE)
    if cluster_id is not None and found["cluster_id"] != cluster_id:
        raise ConflictError(
            f"{path} belongs to cluster {found['cluster_id']}, not to {cluster_id}", "choose the data directory of this cluster"
        )
    return Head(found)


def _begin(db: sqlite3.Connection, values: dict[str, str]) -> dict[str, str]:
    """Writes the head of a new journal, or of one of the first format, whose entries have no ``decided``."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if not any(column[1] == "decided" for column in db.execute("PRAGMA table_info(entries)")):
            db.execute("ALTER TABLE entries ADD COLUMN decided BLOB NOT NULL DEFAULT x''")
        Head(values).save(db)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    return {**values, _SEAL: _seal(values)}


def _seal(values: Mapping[str, str]) -> str:
    text = "".join(f"{key}\0{value}\n" for key, value in sorted(values.items()) if key != _SEAL)
    return blake3(text.encode()).hexdigest()
