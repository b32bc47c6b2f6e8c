"""The lock that keeps two hosts out of one data directory."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from gswarm.domain.errors import ConflictError, StorageError


class DirectoryLock:
    """Holds ``directory`` for this process. The kernel lets go of it when the process ends, however it ends.

    Raises:
        ConflictError: another process holds it; the message names its pid.
        StorageError: the directory cannot be made or written.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / "lock"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"the data directory {directory} cannot be used: {error.strerror}",
                "choose another --data-dir or correct its owner and mode",
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip() or "an unknown process"
            os.close(self._fd)
            raise ConflictError(
                f"the data directory {directory} is in use by {holder}", "stop that host first, or choose another --data-dir"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Lets go. Idempotent."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> DirectoryLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
