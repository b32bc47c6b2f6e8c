"""Blobs as read-only files in a folder: what was committed survives power loss, what was not never shows."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from gswarm.datapool.layout import (
    CHUNK_BYTES,
    OwnedFolder,
    checked_digest,
    file_lock,
    hash_file,
    is_digest,
    open_regular,
    storage_errors,
    sync_folder,
)
from gswarm.domain.errors import CorruptDataError, InvariantError, NotFoundError, StorageError
from gswarm.domain.ids import Digest

logger = logging.getLogger(__name__)

CORRUPT_KEPT_MAX = 8
"""How many corrupt blobs are kept aside for a person to look at; older ones go."""


class DiskStore:
    """A ``BlobStore`` on a local filesystem. See ``layout`` for its files.

    Args:
        root: the store's folder; made if it is missing.
        reserve_bytes: what blobs leave free on the disk, for others that must go on when it is full.

    Raises:
        StorageError: the folder cannot be made or written.
    """

    def __init__(self, root: Path, reserve_bytes: int = 0) -> None:
        self.root = root
        self._reserve_bytes = reserve_bytes
        self._blobs = root / "blobs"
        self._corrupt = root / "corrupt"
        self._lock = root / "lock"
        ingest = root / "ingest"
        with storage_errors(f"open the data pool at {root}"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self._blobs, self._corrupt, ingest):
                folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(root)
        with file_lock(self._lock, exclusive=False):
            self._ingest = OwnedFolder(ingest)

    def close(self) -> None:
        """Discards what is not committed. The store takes nothing in afterwards; what it holds stays readable."""
        self._ingest.close()

    def ingest(self) -> DiskIngest:
        return DiskIngest(self, self._ingest.path / secrets.token_hex(8))

    def put_file(self, path: Path, expected: Digest | None = None, *, move: bool = False) -> Digest:
        with storage_errors(f"read {path}"):
            try:
                status = path.lstat()
                source = open_regular(path)
            except FileNotFoundError:
                raise NotFoundError(f"there is no file {path}") from None
        with source:
            # Renaming a link, or a file with a second name, would put something in that others still can write.
            own = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_dev == self._blobs.stat().st_dev
            digest = self._move_in(path, source, expected) if move and own else self._copy_in(source, expected)
        if move:
            with storage_errors(f"remove {path}"):
                path.unlink(missing_ok=True)
        return digest

    def _check_room(self, file: FileIO, more_bytes: int) -> None:
        """Raises OSError as a full disk does when only the reserve is left."""
        if self._reserve_bytes:
            disk = os.fstatvfs(file.fileno())
            if disk.f_bavail * disk.f_frsize < more_bytes + self._reserve_bytes:
                raise OSError(errno.ENOSPC, f"only the reserve of {self._reserve_bytes >> 20} MiB is left on the disk")

    def _copy_in(self, source: BinaryIO, expected: Digest | None) -> Digest:
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with self.ingest() as ingest:
            while True:
                with storage_errors("read a file on its way into the data pool"):
                    count = source.readinto(buffer)  # type: ignore[attr-defined]  # see layout.hash_file
                if not count:
                    return ingest.commit(expected)
                ingest.write(buffer[:count])

    def _move_in(self, path: Path, source: BinaryIO, expected: Digest | None) -> Digest:
        with storage_errors(f"move {path} into the data pool"):
            digest, size_bytes = hash_file(source)
            _check(digest, size_bytes, expected, None)
            os.fchmod(source.fileno(), 0o444)
            os.fsync(source.fileno())
            self._publish(path, digest)
        return digest

    def _publish(self, path: Path, digest: Digest) -> None:
        """Gives a complete, flushed file its name; leaves it where it is if the blob is there already."""
        final = self._blob_path(digest)
        with storage_errors("commit a blob"):
            os.utime(path)
            if not final.parent.exists():
                final.parent.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self._blobs)
            # Against a sweep in another process that looks at the blob's age and deletes it in between.
            with file_lock(self._lock, exclusive=False):
                if not _touch(final):
                    path.rename(final)
            sync_folder(final.parent)

    def _blob_path(self, digest: Digest) -> Path:
        name = checked_digest(digest)
        return self._blobs / name[:2] / name

    def has(self, digest: Digest) -> bool:
        return self._blob_path(digest).exists()

    def size_bytes(self, digest: Digest) -> int:
        return self._status(digest).st_size

    def committed_at_s(self, digest: Digest) -> float:
        return self._status(digest).st_mtime

    def now_s(self) -> float:
        path = self._ingest.path / secrets.token_hex(8)
        with storage_errors("ask the data pool's disk for the time"):
            try:
                path.touch(mode=0o600)
                return path.stat().st_mtime
            finally:
                path.unlink(missing_ok=True)

    def _status(self, digest: Digest) -> os.stat_result:
        with storage_errors(f"read blob {digest}"):
            try:
                return self._blob_path(digest).stat()
            except FileNotFoundError:
                raise _not_found(digest) from None

    def path(self, digest: Digest) -> Path:
        self._status(digest)
        return self._blob_path(digest)

    def open(self, digest: Digest) -> BinaryIO:
        with storage_errors(f"read blob {digest}"):
            try:
                return self._blob_path(digest).open("rb")
            except FileNotFoundError:
                raise _not_found(digest) from None

    def renew(self, digest: Digest) -> bool:
        with file_lock(self._lock, exclusive=False), storage_errors(f"renew blob {digest}"):
            return _touch(self._blob_path(digest))

    def verify(self, digest: Digest) -> bool:
        with self.open(digest) as file:
            inode = os.fstat(file.fileno()).st_ino
            try:
                actual: Digest | None = hash_file(file)[0]
            except OSError as error:
                if error.errno != errno.EIO:
                    raise StorageError(f"cannot read blob {digest}: {error.strerror}", "try again") from error
                actual = None
        if actual == digest:
            return True
        self._set_aside(digest, inode)
        return False

    def _set_aside(self, digest: Digest, inode: int) -> None:
        path = self._blob_path(digest)
        with file_lock(self._lock, exclusive=True), storage_errors(f"set aside corrupt blob {digest}"):
            # A good copy may have come in its place meanwhile.
            if path.exists() and path.stat().st_ino == inode:
                aside = path.rename(self._corrupt / f"{digest}.{secrets.token_hex(4)}")
                logger.warning("blob %s was damaged on this disk: it is set aside as %s", digest, aside)
            kept = sorted(self._corrupt.iterdir(), key=lambda entry: entry.stat().st_ctime_ns)
            for surplus in kept[:-CORRUPT_KEPT_MAX]:
                surplus.unlink()

    def digests(self) -> Iterator[Digest]:
        with storage_errors("list the data pool"):
            for folder in sorted(self._blobs.iterdir()):
                yield from sorted(Digest(entry.name) for entry in folder.iterdir() if is_digest(entry.name))

    def delete(self, digest: Digest, if_older_than_s: float | None = None) -> int:
        path = self._blob_path(digest)
        with file_lock(self._lock, exclusive=True), storage_errors(f"delete blob {digest}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                return 0
            if if_older_than_s is not None and status.st_mtime >= if_older_than_s:
                return 0
            path.unlink()
            return status.st_size


class DiskIngest:
    """One blob on its way into a ``DiskStore``. Safe to discard from one thread while another writes."""

    def __init__(self, store: DiskStore, path: Path) -> None:
        self._store = store
        self._path = path
        # Opened by the first write, so that whoever makes an ingest on an event loop touches no disk there.
        self._file: FileIO | None = None
        self._hash = blake3()
        self._size_bytes = 0
        self._over = False
        self._committed: Digest | None = None
        self._mutex = threading.Lock()

    def write(self, data: bytes | memoryview) -> None:
        with self._mutex:
            rest = memoryview(data).cast("B")
            try:
                with storage_errors("write a blob"):
                    file = self._open()
                    self._store._check_room(file, len(rest))
                    while rest:
                        count = file.write(rest)
                        self._hash.update(rest[:count])
                        self._size_bytes += count
                        rest = rest[count:]
            except StorageError:
                self._discard()
                raise

    def _open(self) -> FileIO:
        if self._over:
            raise InvariantError("an ingest was used after it was over")
        if self._file is None:
            self._file = self._path.open("xb", buffering=0)
        return self._file

    def commit(self, expected: Digest | None = None, size_bytes: int | None = None) -> Digest:
        with self._mutex:
            if self._committed is None:
                digest = Digest(self._hash.hexdigest())
                try:
                    with storage_errors("commit a blob"), self._open() as file:
                        _check(digest, self._size_bytes, expected, size_bytes)
                        os.fchmod(file.fileno(), 0o444)
                        os.fsync(file.fileno())
                    self._store._publish(self._path, digest)
                    self._committed = digest
                finally:
                    self._discard()
            return self._committed

    def _discard(self) -> None:
        """Ends the ingest; what has become a blob has another name by now."""
        self._over = True
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> DiskIngest:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._mutex:
            self._discard()


def _check(digest: Digest, size_bytes: int, expected: Digest | None, expected_size_bytes: int | None) -> None:
    if expected_size_bytes is not None and size_bytes != expected_size_bytes:
        raise CorruptDataError(f"{size_bytes} bytes arrived where {expected_size_bytes} were expected", "send the blob again")
    if expected is not None and digest != expected:
        raise CorruptDataError(f"the bytes have the digest {digest}, not {expected}", "send the blob again, from another source")


def _touch(path: Path) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _not_found(digest: Digest) -> NotFoundError:
    return NotFoundError(f"blob {digest} is not in the data pool", "fetch it from a client that holds it")
