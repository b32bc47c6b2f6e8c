"""Which process holds which slot: a lock that is the process's own, so that what outlives its client still keeps the next one out.

The client takes a slot's lock and hands it to the process that it starts there, which inherits it with all that it forks. The kernel drops
the lock when the last of them is gone, however it ends. What holds a lock and belongs to no process of this client is an orphan.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gswarm.domain.errors import ConflictError, NotFoundError
from gswarm.runtime.processes import end, holders

logger = logging.getLogger(__name__)

ORPHAN_ENDS_S = 60.0
"""How long the kernel may take to end a killed process, for example one that waits for its GPU's driver."""
JOBS = "jobs"
"""The seat of job processes, which run beside the trainers."""


class Devices:
    """The seats of one client's processes: one a slot, one for jobs. A client is alone in its directory, by the directory's lock.

    Args:
        folder: the locks are files in it; made here.
        orphan_ends_s: how long to wait for the end of an orphan.
    """

    def __init__(self, folder: Path, orphan_ends_s: float = ORPHAN_ENDS_S) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder.resolve()
        self._orphan_ends_s = orphan_ends_s
        self._turn = asyncio.Lock()
        self._is_swept = False

    @asynccontextmanager
    async def seat(self, name: str) -> AsyncIterator[int]:
        """A file descriptor that holds the seat's lock, for a process that is started in the block with it in ``pass_fds``.

        An orphan that sits there is killed first; the first call ends those of all seats: an earlier client may have numbered its slots
        otherwise.

        Raises:
            ConflictError: an orphan does not end.
            OSError: the lock cannot be opened.
        """
        async with self._turn:
            if not self._is_swept:
                for path in sorted(self._folder.glob("*.lock")):
                    os.close(await self._free(path))
                self._is_swept = True
            fd = await self._free(self._folder / f"{name}.lock")
        try:
            yield fd
        finally:
            os.close(fd)

    async def _free(self, path: Path) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if not _locked(fd):
                orphans = await asyncio.to_thread(_end_holders, path, self._orphan_ends_s)
                if not _locked(fd):
                    who = f"process {orphans[0]}" if orphans else "an unknown process"
                    raise ConflictError(
                        f"{who} of an earlier client still holds {path.stem} of this machine and does not end",
                        f"end it, or restart the machine; 'fuser {path}' names it",
                    )
            return fd
        except BaseException:
            os.close(fd)
            raise


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_holders(path: Path, timeout_s: float) -> list[int]:
    """Kills who holds the lock; the ids of those that are still there after ``timeout_s``."""
    alive = []
    for process in holders([path])[path]:
        logger.warning("process %d, which an earlier client started, still holds %s: it is killed", process.pid, path.stem)
        with suppress(NotFoundError):
            if not end(process, signal.SIGKILL, timeout_s):
                alive.append(process.pid)
    return alive
