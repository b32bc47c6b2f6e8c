"""The protocol every store of blobs obeys. One conformance suite (tests/integration/test_blob_stores.py) runs on each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from gswarm.domain.ids import Digest


class Ingest(Protocol):
    """A blob on its way in: invisible until ``commit``. A context manager; leaving it without a commit discards the bytes."""

    def write(self, data: bytes | memoryview) -> None:
        """Appends bytes. Raises StorageError when the disk is full or read-only."""

    def commit(self, expected: Digest | None = None, size_bytes: int | None = None) -> Digest:
        """Flushes to disk, checks digest and size, renames into place. Idempotent for equal content.

        Raises:
            CorruptDataError: the bytes do not have the expected digest or size; nothing becomes visible.
            StorageError: the disk is full or broken; nothing becomes visible.
        """

    def __enter__(self) -> Ingest: ...

    def __exit__(self, *exc: object) -> None: ...


class BlobStore(Protocol):
    """Bytes by digest. Every method is safe to call from several threads and processes."""

    def ingest(self) -> Ingest:
        """Begins a blob. Touches no disk: the first write does."""

    def put_file(self, path: Path, expected: Digest | None = None, *, move: bool = False) -> Digest:
        """Ingests a file's bytes. With ``move`` the file is gone afterwards and, on one filesystem, no byte is copied;
        nobody may hold it open for writing then.

        Raises:
            NotFoundError: there is no such file.
            InvalidInputError: it is a folder, pipe or device.
            CorruptDataError, StorageError: as for ``Ingest.commit``; the file stays where it is.
        """

    def has(self, digest: Digest) -> bool: ...

    def size_bytes(self, digest: Digest) -> int:
        """Raises NotFoundError."""

    def path(self, digest: Digest) -> Path:
        """A readable file with the blob's bytes, never to be written. Raises NotFoundError."""

    def open(self, digest: Digest) -> BinaryIO: ...

    def verify(self, digest: Digest) -> bool:
        """Reads the blob and compares its digest; a corrupt one is moved aside and False is returned."""

    def digests(self) -> Iterator[Digest]: ...

    def delete(self, digest: Digest, if_older_than_s: float | None = None) -> int:
        """Removes a blob if present; bytes freed.

        With ``if_older_than_s`` (seconds since the epoch) a blob that was committed or renewed at or after it stays, also when
        that happens at the same moment in another process.
        """

    def committed_at_s(self, digest: Digest) -> float:
        """When the blob was last committed or renewed, in seconds since the epoch. Raises NotFoundError."""

    def now_s(self) -> float:
        """The time by the clock that ``committed_at_s`` goes by. Raises StorageError."""

    def renew(self, digest: Digest) -> bool:
        """Makes a blob count as committed now, so that a sweep spares it for another grace period; whether it is there."""
