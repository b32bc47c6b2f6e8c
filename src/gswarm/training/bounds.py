"""What reading files from outside may cost: the memory of the whole process, the processor time of one call."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from gswarm.domain.errors import InvalidInputError

MEMORY_SHARE = 0.75
"""Of the machine's memory: the rest is for everybody else on it."""
REPEAT_S = 0.25
"""An exception that was raised where Python drops it is raised again."""
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def limit_memory(share: float = MEMORY_SHARE) -> int:
    """Caps what this process may write to, so that a file that lies about its size ends this process alone, as out of memory.

    It is the limit of private writable memory (``RLIMIT_DATA``): files that are only read through a mapping do not count, nor do the
    addresses that CUDA reserves.

    Returns:
        The limit in bytes.
    """
    limit_bytes = int(machine_memory_bytes() * share)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    return limit_bytes


def machine_memory_bytes() -> int:
    """The machine's memory, or the container's where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or one without a limit ("max")
        return min(total, int(_CGROUP_LIMIT.read_text()))
    return total


@contextlib.contextmanager
def processor_time(limit_s: float, what: str) -> Iterator[None]:
    """Ends a block that computes for longer. Time of the processor, so that a busy machine makes no difference. In the main thread only.

    Args:
        limit_s: seconds.
        what: who computes, for the error.

    Raises:
        InvalidInputError: the time is over.
    """

    def over(_number: int, _frame: FrameType | None) -> None:
        raise InvalidInputError(f"{what} computes for more than {limit_s:g} s", "it may never end: use another one")

    before = signal.signal(signal.SIGVTALRM, over)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, limit_s, REPEAT_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
