"""The lock that keeps two hosts out of one data directory."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType

from gswarm.domain.errors import ConflictError, StorageError
from gswarm.runtime.locks import FileLock


class DirectoryLock:
    """Holds ``directory`` for this process. The kernel lets go of it when the process ends, however it ends.

    Raises:
        ConflictError: another process holds it; the message names its pid.
        StorageError: the directory cannot be made or written.
    """

    def __init__(self, directory: Path) -> None:
        self._lock = FileLock(directory / "lock")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            is_ours = self._lock.acquire(f"pid {os.getpid()} on {socket.gethostname()}")
            holder = "" if is_ours else self._lock.holder()
        except OSError as error:
            raise StorageError(
                f"the data directory {directory} cannot be used: {error.strerror}",
                "choose another --data-dir or correct its owner and mode",
            ) from error
        if not is_ours:
            raise ConflictError(
                f"the data directory {directory} is in use by {holder or 'an unknown process'}",
                "stop that host first, or choose another --data-dir",
            )

    def release(self) -> None:
        """Lets go. Idempotent."""
        self._lock.release()

    def __enter__(self) -> DirectoryLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
