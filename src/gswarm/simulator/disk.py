"""Pretended disks: a journal in bytes that reach the disk only by a flush, and a blob store that can be full."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NoReturn

from blake3 import blake3

from gswarm import __version__
from gswarm.datapool.memory import MemoryIngest, MemoryStore
from gswarm.domain.errors import NotFoundError, StorageError
from gswarm.domain.ids import Digest
from gswarm.host.journal.codec import decode, encode
from gswarm.host.journal.protocol import Entry, JournalEntry
from gswarm.simulator.process import Machine

SNAPSHOTS_KEPT = 2
SUM_BYTES = 16

Row = tuple[int, float, str, str]
"""(seq, now_s, the event's text, the digest of what it led to)."""


class FlushTrap(StrEnum):
    """What happens to the host around its next flush."""

    BEFORE = "dies before the write"
    TORN = "dies in the middle of the write"
    AFTER = "dies after the flush"
    FULL = "finds the disk full"
    UNSURE = "is told of an error although the flush was done"


class JournalDisk:
    """The bytes of the journal and of its snapshots, as they would be found after a loss of power."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.file = bytearray()
        self.snapshots: dict[int, bytes] = {}
        self.trimmed_seq = 0
        self.trap: FlushTrap | None = None
        self.on_flushed: Callable[[Sequence[Row]], None] = lambda rows: None

    def write(self, record: bytes) -> None:
        """Appends and flushes. Raises StorageError."""
        trap, self.trap = self.trap, None
        match trap:
            case FlushTrap.BEFORE:
                self._die()
            case FlushTrap.TORN:
                self.file += record[: self.machine.random.randrange(1, len(record))]
                self._die()
            case FlushTrap.FULL:
                raise StorageError("no space left on the pretended disk", "free some")
            case FlushTrap.AFTER:
                self.file += record
                self._die()
            case FlushTrap.UNSURE:
                self.file += record
                raise StorageError("an error of the pretended disk", "look at its cables")
            case None:
                if self.machine.is_disk_full:
                    raise StorageError("no space left on the pretended disk", "free some")
                self.file += record

    def _die(self) -> NoReturn:
        if self.machine.process is not None:
            self.machine.process.die()
        raise StorageError("the process was killed while it wrote")

    def rows(self) -> list[Row]:
        """What can be read; a record that is torn at the end is cut off, as SQLite does with an uncommitted transaction."""
        rows: list[Row] = []
        place = 0
        while place < len(self.file):
            end = place + int.from_bytes(self.file[place : place + 4], "little")
            body = bytes(self.file[place + 4 : end])
            if end > len(self.file) or len(body) < SUM_BYTES or _sum(body[SUM_BYTES:]) != body[:SUM_BYTES]:
                break
            rows += [(seq, now_s, text, decided) for seq, now_s, text, decided in json.loads(body[SUM_BYTES:])]
            place = end
        del self.file[place:]
        return rows


class SimJournal:
    """A ``Journal`` on a ``JournalDisk``: real events as real text.

    Args:
        entries_kept: how many of the newest entries are never trimmed.
    """

    def __init__(self, disk: JournalDisk, constants: Mapping[str, str], entries_kept: int) -> None:
        self._disk = disk
        self._entries_kept = entries_kept
        self.constants = constants
        self._rows = disk.rows()
        disk.on_flushed(self._rows)

    @property
    def last_seq(self) -> int:
        return self._rows[-1][0] if self._rows else self.trimmed_seq

    @property
    def trimmed_seq(self) -> int:
        return self._disk.trimmed_seq

    def append(self, entries: Sequence[Entry]) -> int:
        rows: list[Row] = [(seq, one.now_s, encode(one.event), one.decided.hex()) for seq, one in enumerate(entries, self.last_seq + 1)]
        self._disk.write(_record(rows))
        self._rows += rows
        self._disk.on_flushed(rows)
        return self.last_seq

    def read(self, after_seq: int = 0) -> Iterator[JournalEntry]:
        if after_seq < self.trimmed_seq:
            raise NotFoundError(f"entries up to {self.trimmed_seq} are not kept any more")
        for seq, now_s, text, decided in self._rows[after_seq - self.trimmed_seq :]:
            yield JournalEntry(seq, now_s, decode(text), bytes.fromhex(decided))

    def writer_of(self, seq: int) -> str:
        return __version__

    def save_snapshot(self, seq: int, payload: bytes) -> None:
        disk = self._disk
        if disk.machine.is_disk_full:
            raise StorageError("no space left on the pretended disk", "free some")
        disk.snapshots[seq] = payload
        for old in sorted(disk.snapshots)[:-SNAPSHOTS_KEPT]:
            del disk.snapshots[old]
        if len(disk.snapshots) == SNAPSHOTS_KEPT:
            self._trim(min(min(disk.snapshots), self.last_seq - self._entries_kept))

    def _trim(self, until_seq: int) -> None:
        if until_seq > self.trimmed_seq:
            self._rows = [row for row in self._rows if row[0] > until_seq]
            self._disk.trimmed_seq = until_seq
            self._disk.file = bytearray(_record(self._rows) if self._rows else b"")

    def newest_snapshot(self, before_seq: int | None = None) -> tuple[int, bytes] | None:
        found = [seq for seq in self._disk.snapshots if seq <= self.last_seq and (before_seq is None or seq < before_seq)]
        return (max(found), self._disk.snapshots[max(found)]) if found else None

    def snapshot_saved(self) -> tuple[int, float] | None:
        return (max(self._disk.snapshots), 0.0) if self._disk.snapshots else None

    def size_bytes(self) -> int:
        return len(self._disk.file)

    def close(self) -> None:
        """Nothing is open."""


class SimStore(MemoryStore):
    """A machine's blobs: its processes come and go, the store stays."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(clock=machine.wall_s)
        self._machine = machine
        self.on_deleted: Callable[[], None] = lambda: None

    def ingest(self) -> MemoryIngest:
        if self._machine.is_disk_full:
            raise StorageError(f"the disk of {self._machine.name} is full", "free some space")
        return super().ingest()

    def delete(self, digest: Digest, if_older_than_s: float | None = None) -> int:
        freed_bytes = super().delete(digest, if_older_than_s)
        if freed_bytes:
            self.on_deleted()
        return freed_bytes


def _record(rows: Sequence[Row]) -> bytes:
    """What one flush writes: length, checksum, rows."""
    body = json.dumps(rows).encode()
    return (len(body) + SUM_BYTES + 4).to_bytes(4, "little") + _sum(body) + body


def _sum(body: bytes) -> bytes:
    return blake3(body).digest(SUM_BYTES)
