"""Batches on disk until the host has stored them.

A spool is a folder of append-only segments; a segment is named by the number of its first batch and holds records of a head (length,
checksum, number and rows of the batch) and the batch as it travels, deflated, as names come again in every one. Every record is written by
one call, so a client that is killed loses none; after power loss a record that is torn is found by its checksum. Nothing here waits or
decides when to send.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gswarm.domain.errors import GswarmError, InvalidInputError, StorageError
from gswarm.domain.samples import SampleBatch
from gswarm.wire.convert import MESSAGE_BYTES_MAX, decode_samples, encode_samples

SEGMENT_BYTES = 1024 * 1024
STALE_BYTES = 64 * 1024
"""A segment whose batches are all stored at the host goes when it is larger than this, so that little is sent again after a restart."""
SPOOLS_MAX = 1000
"""Old spools that are kept; a client that restarts for ever does not fill the disk with folders."""

_HEAD = struct.Struct("<IIQI")
_SUFFIX = ".seg"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """A batch as it lies on the disk."""

    seq: int
    rows: int
    payload: bytes

    def batch(self) -> SampleBatch:
        """Raises InvalidInputError: another version of gswarm wrote it."""
        try:
            return decode_samples(zlib.decompressobj().decompress(self.payload, MESSAGE_BYTES_MAX))
        except zlib.error as error:
            raise InvalidInputError(f"the record cannot be inflated: {error}") from None


class Spool:
    """One spool. Not safe to use from several threads at the same time.

    Args:
        folder: its name is the spool's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.acked = 0
        """This batch and all before it are stored at the host."""
        self._segments = sorted((int(path.stem), path.stat().st_size) for path in folder.glob("*" + _SUFFIX) if path.stem.isdecimal())
        self._fd: int | None = None
        self.last = 0
        """The newest batch."""
        for first, _size in self._segments[-1:]:
            self.last = max([first - 1, *(record.seq for record in _records(self._path(first)))])

    @classmethod
    def create(cls, root: Path) -> Spool:
        """Raises OSError."""
        folder = root / secrets.token_hex(8)
        folder.mkdir(mode=0o700, parents=True)
        return cls(folder)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def size_bytes(self) -> int:
        return sum(size for _first, size in self._segments)

    @property
    def waiting(self) -> int:
        """Batches that the host has not stored, as far as is known here."""
        first = self._segments[0][0] if self._segments else self.last + 1
        return max(0, self.last - max(self.acked, first - 1))

    def append(self, batch: SampleBatch) -> int:
        """Writes a batch under the next number, which is returned. Its ``spool`` and ``seq`` are set here.

        Raises:
            StorageError: the disk is full or broken; nothing of the batch is kept.
            InvalidInputError, LimitError: it can never be sent.
        """
        seq = self.last + 1
        payload = zlib.compress(encode_samples(replace(batch, spool=self.name, seq=seq)), level=1)
        rows = sum(len(columns.times_us) for columns in batch.columns) // 8
        record = _HEAD.pack(len(payload), zlib.crc32(payload), seq, rows) + payload
        try:
            if self._fd is None or self._segments[-1][1] >= SEGMENT_BYTES:
                self._roll(seq)
            assert self._fd is not None
            first, size = self._segments[-1]
            if os.write(self._fd, record) != len(record):
                os.ftruncate(self._fd, size)
                raise StorageError(f"the spool {self.folder} has no room", "free some space")
        except OSError as error:
            raise StorageError(f"the spool {self.folder} cannot be written: {error.strerror}", "free some space") from error
        self._segments[-1] = (first, size + len(record))
        self.last = seq
        return seq

    def read(self, after: int, count: int) -> list[Record]:
        """Up to ``count`` batches behind number ``after``, oldest first. What the disk has spoiled is left out."""
        found: list[Record] = []
        for place, (first, _size) in enumerate(self._segments):
            later = self._segments[place + 1][0] if place + 1 < len(self._segments) else self.last + 1
            if later - 1 <= after:
                continue
            for record in _records(self._path(first), after):
                found.append(record)
                if len(found) >= count:
                    return found
        return found

    def ack(self, seq: int) -> None:
        """Removes segments that the host has as a whole."""
        self.acked = max(self.acked, min(seq, self.last))
        if self.acked == self.last and self._segments and self._segments[-1][1] > STALE_BYTES:
            self._close()
            while self._segments:
                self._remove(0)
        while len(self._segments) > 1 and self._segments[1][0] - 1 <= self.acked:
            self._remove(0)

    def drop_oldest(self) -> int:
        """Removes the oldest segment, if that is not the one being written. How many rows were lost with it."""
        if not self._segments or (len(self._segments) == 1 and self._fd is not None):
            return 0
        lost = sum(record.rows for record in _records(self._path(self._segments[0][0]), self.acked))
        self._remove(0)
        return lost

    def seal(self) -> None:
        """Nothing more is written to it."""
        self._close()

    def remove(self) -> None:
        self._close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._segments = []

    def _roll(self, first: int) -> None:
        self._close()
        self._fd = os.open(self._path(first), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._segments.append((first, 0))

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _remove(self, place: int) -> None:
        first, _size = self._segments.pop(place)
        with suppress(OSError):
            self._path(first).unlink()

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:016d}{_SUFFIX}"


def _records(path: Path, after: int = 0) -> Iterator[Record]:
    """Whole records of a segment behind number ``after``; what comes behind a broken one cannot be found."""
    try:
        with path.open("rb") as file:
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                length, checksum, seq, rows = _HEAD.unpack(head)
                if seq <= after:
                    file.seek(length, os.SEEK_CUR)
                    continue
                payload = file.read(min(length, MESSAGE_BYTES_MAX + 1))
                if len(payload) != length or zlib.crc32(payload) != checksum:
                    logger.warning("the rest of %s is damaged and left out", path)
                    return
                yield Record(seq, rows, payload)
    except OSError as error:
        logger.warning("%s cannot be read: %s", path, error)


class Spools:
    """The spool that is written and those that earlier connections and processes have left, within one budget. Used by one thread at a
    time.

    Args:
        root: a folder of spools; made if it is missing.
        budget_bytes: of all together. Only when it is reached, the oldest segments go.

    Raises:
        StorageError: the folder cannot be used.
    """

    def __init__(self, root: Path, budget_bytes: int) -> None:
        self._root = root
        self._budget_bytes = budget_bytes
        self.lost_rows = 0
        """Since the start, for want of room."""
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folders = sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
            self.old = [Spool(folder) for folder in folders]
            self.live = Spool.create(root)
        except OSError as error:
            raise StorageError(f"the spool {root} cannot be used: {error.strerror}", "use another data directory") from error
        for spool in [spool for spool in self.old if not spool.waiting]:
            self.retire(spool)

    @property
    def size_bytes(self) -> int:
        return sum(spool.size_bytes for spool in (*self.old, self.live))

    def append(self, batch: SampleBatch) -> None:
        """Makes room and writes to the live spool. Raises as ``Spool.append``."""
        rows = sum(len(columns.times_us) for columns in batch.columns) // 8
        try:
            self.live.append(batch)
        except GswarmError:
            self.lost_rows += rows
            raise
        self._make_room()

    def seal(self) -> None:
        """What waits in the live spool becomes old, and a new one is written from now on. Raises StorageError."""
        try:
            fresh = Spool.create(self._root)
        except OSError as error:
            raise StorageError(f"the spool {self._root} cannot be written: {error.strerror}", "free some space") from error
        self.live.seal()
        self.old.append(self.live)
        self.live = fresh

    def retire(self, spool: Spool) -> None:
        """The host has all of an old spool."""
        spool.remove()
        self.old.remove(spool)

    def close(self) -> None:
        self.live.seal()

    def _make_room(self) -> None:
        lost = 0
        while self.size_bytes > self._budget_bytes or len(self.old) > SPOOLS_MAX:
            oldest = self.old[0] if self.old else self.live
            before = oldest.size_bytes
            lost += oldest.drop_oldest()
            if oldest is not self.live and not oldest.size_bytes:
                self.retire(oldest)
            elif oldest.size_bytes == before:
                break
        if lost:
            self.lost_rows += lost
            logger.warning("the spool has reached its %d bytes: the oldest %d samples are lost", self._budget_bytes, lost)
