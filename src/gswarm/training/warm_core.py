"""A run that takes over begins on the core where the run before it trained: that core is awake, and its caches are warm.

Left to itself the kernel wakes a run's thread wherever it ran last or the waker runs. On two shared cores that made the first step of a
chunk a quarter longer (``benchmarks/interleave.py``).
"""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None)


class WarmCore:
    """Passed on from one training thread of a process to the next; only the one whose turn it is touches it."""

    def __init__(self) -> None:
        self._core: int | None = None

    def leave(self) -> None:
        """The calling thread is about to wait, and another one's turn begins."""
        self._core = _libc.sched_getcpu()

    def take(self) -> None:
        """Moves the calling thread to the core that was left. It may be moved away again at any time, as before."""
        cores = os.sched_getaffinity(0)
        if self._core in cores and len(cores) > 1:
            os.sched_setaffinity(0, {self._core})
            os.sched_setaffinity(0, cores)
