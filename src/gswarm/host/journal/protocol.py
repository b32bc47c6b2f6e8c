"""The protocol every journal obeys. One conformance suite (tests/integration/test_journal.py) runs on each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gswarm.scheduler.events import Event


@dataclass(frozen=True, slots=True)
class Entry:
    """An accepted event and the time it was accepted at, in seconds since the epoch."""

    now_s: float
    event: Event


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An entry with its place. ``seq`` starts at 1 and has no gaps."""

    seq: int
    now_s: float
    event: Event


class Journal(Protocol):
    """Appended to by one writer, read by any thread. After an append has raised, the journal is reopened before the next one."""

    @property
    def constants(self) -> Mapping[str, str]:
        """What the plan was begun with and a replay depends on; fixed when the journal was made."""

    @property
    def last_seq(self) -> int:
        """The newest durable entry's ``seq``, or 0."""

    def append(self, entries: Sequence[Entry]) -> int:
        """Adds ``entries`` in one flush, all or none, and returns the last one's ``seq``. Durable on return.

        Raises:
            StorageError: the disk is full, read-only, locked or broken.
        """

    def read(self, after_seq: int = 0) -> Iterator[JournalEntry]:
        """The entries behind ``after_seq`` in order, up to the newest at the time of the call.

        Raises:
            CorruptDataError: an entry is not what was written, or one is missing.
            IncompatibleVersionError: an entry was written by a newer host.
        """

    def save_snapshot(self, seq: int, payload: bytes) -> None:
        """Keeps the state after entry ``seq``; the two newest are kept. Raises StorageError."""

    def newest_snapshot(self, before_seq: int | None = None) -> tuple[int, bytes] | None:
        """The newest snapshot whose bytes are intact, older than ``before_seq`` if given, or ``None``."""

    def close(self) -> None: ...
