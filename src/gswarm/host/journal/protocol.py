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
    decided: bytes = b""
    """``decisions.decisions_digest`` of what it led to; empty where nobody looked."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An entry with its place. ``seq`` starts at 1 and has no gaps."""

    seq: int
    now_s: float
    event: Event
    decided: bytes = b""


class Journal(Protocol):
    """Appended to by one writer, read by any thread. After an append has raised, the journal is reopened before the next one."""

    @property
    def constants(self) -> Mapping[str, str]:
        """What the plan was begun with and a replay depends on; fixed when the journal was made."""

    @property
    def last_seq(self) -> int:
        """The newest durable entry's ``seq``, or 0."""

    @property
    def trimmed_seq(self) -> int:
        """The newest entry that is not kept any more, or 0: snapshots hold what it led to."""

    def append(self, entries: Sequence[Entry]) -> int:
        """Adds ``entries`` in one flush, all or none, and returns the last one's ``seq``. Durable on return.

        Raises:
            StorageError: the disk is full, read-only, locked or broken.
        """

    def read(self, after_seq: int = 0) -> Iterator[JournalEntry]:
        """The entries behind ``after_seq`` in order, up to the newest at the time of the call.

        Raises:
            NotFoundError: they are not kept any more.
            CorruptDataError: an entry is not what was written, or one is missing.
            IncompatibleVersionError: an entry was written by a newer host.
        """

    def writer_of(self, seq: int) -> str:
        """The gswarm version that wrote that entry, or an empty text where nobody wrote it down."""

    def save_snapshot(self, seq: int, payload: bytes) -> None:
        """Keeps the state after entry ``seq``; the two newest are kept. Entries that neither they nor readers need may go then.

        Raises:
            StorageError: the snapshot was not saved, or the entries could not be removed.
        """

    def newest_snapshot(self, before_seq: int | None = None) -> tuple[int, bytes] | None:
        """The newest snapshot whose bytes are intact, older than ``before_seq`` if given, or ``None``."""

    def snapshot_saved(self) -> tuple[int, float] | None:
        """``seq`` of the newest snapshot, and when it was saved in seconds since the epoch."""

    def size_bytes(self) -> int:
        """Of the entries on disk, without snapshots."""

    def close(self) -> None: ...
