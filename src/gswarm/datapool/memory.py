"""Blobs in this process's memory, within a budget: for tests and for what need not outlive the process."""

from __future__ import annotations

import io
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from gswarm.datapool.layout import CHUNK_BYTES, checked_digest, open_regular, storage_errors
from gswarm.domain.errors import CorruptDataError, InvariantError, NotFoundError, StorageError
from gswarm.domain.ids import Digest

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # the folder made in it is this process's own


@dataclass(slots=True)
class _Held:
    data: bytes
    committed_at_s: float


class MemoryStore:
    """A ``BlobStore`` in memory. ``path`` writes a blob to a temporary file when somebody asks for one.

    Args:
        max_bytes: what may be held, open ingests included.
        clock: seconds since the epoch.
    """

    def __init__(self, max_bytes: int = 1 << 30, clock: Callable[[], float] = time.time) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._blobs: dict[Digest, _Held] = {}
        self._used_bytes = 0
        self._mutex = threading.RLock()
        self._files: tempfile.TemporaryDirectory[str] | None = None
        """Made when somebody first asks for a path."""

    def close(self) -> None:
        """Removes the temporary files."""
        if self._files is not None:
            self._files.cleanup()

    def ingest(self) -> MemoryIngest:
        return MemoryIngest(self)

    def put_file(self, path: Path, expected: Digest | None = None, *, move: bool = False) -> Digest:
        with self.ingest() as ingest, storage_errors(f"read {path}"):
            try:
                with open_regular(path) as source:
                    while chunk := source.read(CHUNK_BYTES):
                        ingest.write(chunk)
            except FileNotFoundError:
                raise NotFoundError(f"there is no file {path}") from None
            digest = ingest.commit(expected)
            if move:
                path.unlink()
        return digest

    def _reserve(self, count: int) -> None:
        with self._mutex:
            if self._used_bytes + count > self._max_bytes:
                raise StorageError("the memory store is full", f"its limit is {self._max_bytes} bytes: delete something or raise it")
            self._used_bytes += count

    def _release(self, count: int) -> None:
        with self._mutex:
            self._used_bytes -= count

    def _publish(self, digest: Digest, data: bytes) -> None:
        with self._mutex:
            if digest in self._blobs:
                self._used_bytes -= len(data)
                self._blobs[digest].committed_at_s = self._clock()
            else:
                self._blobs[digest] = _Held(data, self._clock())

    def _held(self, digest: Digest) -> _Held:
        with self._mutex:
            held = self._blobs.get(checked_digest(digest))
        if held is None:
            raise NotFoundError(f"blob {digest} is not in the data pool", "fetch it from a client that holds it")
        return held

    def has(self, digest: Digest) -> bool:
        return checked_digest(digest) in self._blobs

    def size_bytes(self, digest: Digest) -> int:
        return len(self._held(digest).data)

    def committed_at_s(self, digest: Digest) -> float:
        return self._held(digest).committed_at_s

    def now_s(self) -> float:
        return self._clock()

    def path(self, digest: Digest) -> Path:
        with self._mutex, storage_errors(f"write blob {digest} to a file"):
            data = self._held(digest).data
            if self._files is None:
                self._files = tempfile.TemporaryDirectory(prefix="gswarm-", dir=_SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None)
            path = Path(self._files.name) / digest
            if not path.exists():
                path.write_bytes(data)
                path.chmod(0o444)
            return path

    def open(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self._held(digest).data)

    def renew(self, digest: Digest) -> bool:
        with self._mutex:
            held = self._blobs.get(checked_digest(digest))
            if held is not None:
                held.committed_at_s = self._clock()
            return held is not None

    def verify(self, digest: Digest) -> bool:
        if blake3(self._held(digest).data).hexdigest() == digest:
            return True
        self.delete(digest)
        return False

    def digests(self) -> Iterator[Digest]:
        with self._mutex:
            present = sorted(self._blobs)
        return iter(present)

    def delete(self, digest: Digest, if_older_than_s: float | None = None) -> int:
        with self._mutex:
            held = self._blobs.get(checked_digest(digest))
            if held is None or (if_older_than_s is not None and held.committed_at_s >= if_older_than_s):
                return 0
            del self._blobs[digest]
            self._used_bytes -= len(held.data)
            if self._files is not None:
                (Path(self._files.name) / digest).unlink(missing_ok=True)
            return len(held.data)


class MemoryIngest:
    """One blob on its way into a ``MemoryStore``."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._data = bytearray()
        self._over = False
        self._committed: Digest | None = None
        self._mutex = threading.Lock()

    def write(self, data: bytes | memoryview) -> None:
        with self._mutex:
            if self._over:
                raise InvariantError("bytes were written to an ingest that is over")
            try:
                self._store._reserve(memoryview(data).nbytes)
            except StorageError:
                self._discard()
                raise
            self._data += data

    def commit(self, expected: Digest | None = None, size_bytes: int | None = None) -> Digest:
        with self._mutex:
            if self._committed is not None:
                return self._committed
            if self._over:
                raise InvariantError("an ingest that is over was committed")
            digest = Digest(blake3(self._data).hexdigest())
            if digest != (expected or digest) or len(self._data) != (len(self._data) if size_bytes is None else size_bytes):
                self._discard()
                raise CorruptDataError(f"the bytes are not those of {expected or 'the expected size'}", "send the blob again")
            self._store._publish(digest, bytes(self._data))
            self._committed, self._over, self._data = digest, True, bytearray()
            return digest

    def _discard(self) -> None:
        if not self._over:
            self._store._release(len(self._data))
            self._over, self._data = True, bytearray()

    def __enter__(self) -> MemoryIngest:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._mutex:
            self._discard()
