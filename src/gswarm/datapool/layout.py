"""Where a store's files lie, and how the operating system's refusals become typed errors.

::

    <root>/lock                 held shared to publish a blob, exclusively to delete one
    <root>/blobs/ab/ab12...     committed blobs, read-only, named by their digest
    <root>/ingest/<random>/     what one store object is writing now; invisible, swept away after a crash
    <root>/corrupt/             blobs that did not have their digest any more
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from gswarm.domain.errors import InvalidInputError, StorageError
from gswarm.domain.ids import Digest

CHUNK_BYTES = 1024 * 1024
"""How many bytes are read, hashed or written at a time."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_HINTS = {
    errno.ENOSPC: "free some space, or use another data directory",
    errno.EDQUOT: "your quota is used up: free some space or use another data directory",
    errno.EFBIG: "the file size limit (ulimit -f, or the filesystem's) is too small",
    errno.EROFS: "the filesystem is read-only: use another data directory",
    errno.EACCES: "give this account write permission, or use another data directory",
    errno.EPERM: "give this account write permission, or use another data directory",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the machine's limit of open files is reached",
    errno.EIO: "the disk reports an error: look at the kernel log",
}


def checked_digest(text: object) -> Digest:
    """``text`` as a digest, safe to become part of a path.

    Raises:
        InvalidInputError: not 64 lower-case hexadecimal digits.
    """
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise InvalidInputError(f"{str(text)[:80]!r} is no digest", "a digest has 64 lower-case hexadecimal digits")
    return Digest(text)


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


@contextmanager
def storage_errors(action: str) -> Iterator[None]:
    """Turns an ``OSError`` of the block into a ``StorageError`` that says which action failed and what to do."""
    try:
        yield
    except OSError as error:
        raise storage_error(action, error) from error


def storage_error(action: str, error: OSError) -> StorageError:
    """What the operating system refused, and what to do."""
    return StorageError(f"cannot {action}: {error.strerror or error}", _HINTS.get(error.errno or 0, "check the path and the disk"))


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading. What is no regular file is refused at once: opening a pipe would wait for its other end.

    Raises:
        InvalidInputError: a folder, pipe, socket or device.
        OSError: as ``open``.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidInputError(f"{path} is no regular file", "pipes, devices and folders are not read: copy its content to a file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def within(path: Path, folder: Path) -> Path:
    """What ``path`` below ``folder`` really is, its links followed.

    A link may lead to a file of the same folder, and in a Hugging Face cache from a snapshot to that repository's blobs; one that leads
    anywhere else would carry files away that nobody named.

    Raises:
        InvalidInputError: it leads out of the folder, or in a circle.
    """
    try:
        real, home = path.resolve(), folder.resolve()
    except RuntimeError:
        raise InvalidInputError(f"{path} is a link that leads to itself", "remove the link") from None
    roots = (home, home.parent.parent / "blobs") if home.parent.name == "snapshots" else (home,)
    if not any(real.is_relative_to(root) for root in roots):
        raise InvalidInputError(f"{path} is a link that leads out of {folder}", "copy the file to its place, or remove the link")
    return real


def hash_file(file: BinaryIO) -> tuple[Digest, int]:
    """The digest and the size in bytes of what is left to read."""
    hasher = blake3()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    size = 0
    while count := file.readinto(buffer):  # type: ignore[attr-defined]  # every real file has it; typing.BinaryIO does not say so
        hasher.update(buffer[:count])
        size += count
    return Digest(hasher.hexdigest()), size


def sync_folder(path: Path) -> None:
    """Flushes a folder's entries, so that a rename into it survives power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def file_lock(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Holds an advisory lock on a file, between threads as well as processes. Blocks until it is free."""
    with storage_errors(f"lock {path}"):
        # A descriptor of its own each time: flock is per open file, so threads sharing one would not exclude each other.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with storage_errors(f"lock {path}"):
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


class OwnedFolder:
    """A folder for one object of one live process.

    Its owner holds a lock on a file in it until it ends, however it ends. Whoever makes the next folder beside it removes
    those that nobody owns any more.

    Raises:
        StorageError: the parent cannot be written.
    """

    def __init__(self, parent: Path) -> None:
        with file_lock(parent / ".lock", exclusive=True), storage_errors(f"use {parent}"):
            for folder in parent.iterdir():
                if folder.is_dir() and not _is_owned(folder):
                    shutil.rmtree(folder, ignore_errors=True)
            self.path = parent / secrets.token_hex(8)
            self.path.mkdir(mode=0o700)
            descriptor = os.open(self.path / _OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._finalizer = weakref.finalize(self, _let_go, self.path, descriptor, os.getpid())

    def close(self) -> None:
        """Removes the folder and what is in it."""
        self._finalizer()


_OWNER = ".owner"


def _is_owned(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / _OWNER, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _let_go(path: Path, descriptor: int, owner_pid: int) -> None:
    # A forked child inherits the object but owns nothing.
    if os.getpid() == owner_pid:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)
