"""Batches on disk until a segment holds them: a file that only grows, of records that tell whether they are whole.

A record is its length and CRC-32 (little-endian u32 each), then the length of a JSON head (u32), the head, and the columns' bytes. What
``append`` wrote survives the end of the process; what ``flush`` flushed, the loss of power.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

from gswarm.domain.errors import StorageError
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import SampleBatch, SampleColumns
from gswarm.profiler.store.known import device_of
from gswarm.profiler.store.segments import flush

_FRAME = struct.Struct("<II")
_LENGTH = struct.Struct("<I")


def encode(client: ClientName, batch: SampleBatch) -> bytes:
    """A record's payload."""
    shapes: dict[tuple[str, ...], int] = {}
    columns = [
        (column.device, column.owner, shapes.setdefault(column.metrics, len(shapes)), len(column.times_us)) for column in batch.columns
    ]
    devices = [astuple(device) for device in batch.devices]
    head = json.dumps([client, batch.spool, batch.seq, batch.clock_offset_s, batch.clock_error_s, list(shapes), columns, devices]).encode()
    parts = [_LENGTH.pack(len(head)), head]
    for column in batch.columns:
        parts += (column.times_us, column.values)
    return b"".join(parts)


def decode(payload: bytes) -> tuple[ClientName, SampleBatch]:
    """What ``encode`` was given."""
    (length,) = _LENGTH.unpack_from(payload)
    place = _LENGTH.size + length
    client, spool, seq, offset_s, error_s, shapes, heads, devices = json.loads(payload[_LENGTH.size : place])
    columns = []
    for device, owner, shape, times_length in heads:
        metrics = tuple(shapes[shape])
        between = place + times_length
        end = between + times_length * len(metrics)
        columns.append(SampleColumns(device, owner, metrics, payload[place:between], payload[between:end]))
        place = end
    return client, SampleBatch(spool, seq, tuple(columns), tuple(map(device_of, devices)), offset_s, error_s)


class BatchLog:
    """One log, open for appending. ``append`` is for one thread at a time.

    Args:
        path: made if it is missing; what stands behind its last whole record is cut off.

    Raises:
        StorageError: it cannot be made or written.
    """

    def __init__(self, path: Path, keep_bytes: int | None = None) -> None:
        self.path = path
        self._closing = threading.Lock()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if keep_bytes is not None:
                os.ftruncate(self._file, keep_bytes)
            self.size_bytes = self._flushed_bytes = os.lseek(self._file, 0, os.SEEK_END)
            flush(path)
            flush(path.parent)
        except OSError as error:
            raise StorageError(f"the log of samples {path} cannot be written: {error.strerror}", "look at the disk") from error

    def append(self, payload: bytes) -> None:
        """Whole or not at all. Raises StorageError."""
        record = memoryview(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
        written = 0
        try:
            while written < len(record):
                written += os.pwrite(self._file, record[written:], self.size_bytes + written)
        except OSError as error:
            # The next record takes this one's place; a reader stops at what is not whole.
            raise StorageError(f"samples cannot be stored in {self.path}: {error.strerror}", "free some space") from error
        self.size_bytes += len(record)

    def flush(self) -> None:
        """What was appended before survives power loss when this returns. For any thread; of a closed log nothing. Raises StorageError."""
        size_bytes = self.size_bytes
        with self._closing:
            if self._file < 0 or self._flushed_bytes >= size_bytes:
                return
            try:
                os.fdatasync(self._file)
            except OSError as error:
                raise StorageError(f"samples cannot be flushed to {self.path}: {error.strerror}", "look at the disk") from error
            self._flushed_bytes = size_bytes

    def close(self) -> None:
        """Idempotent."""
        with self._closing:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


def read_log(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each whole record's payload with the place behind it, up to the first that is not whole. Raises OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        place = 0
        while len(frame := file.read(_FRAME.size)) == _FRAME.size:
            length, checksum = _FRAME.unpack(frame)
            if length > size - place:
                return
            payload = file.read(length)
            if len(payload) < length or not length or zlib.crc32(payload) != checksum:
                return
            place += _FRAME.size + length
            yield place, payload
