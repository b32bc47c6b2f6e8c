"""Processes that must not outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import signal

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """From now on Linux kills this process when its parent ends, also when it is too busy to see a pipe close. Elsewhere nothing changes.

    A parent that has ended before is not noticed: whoever needs that compares ``os.getppid()`` afterwards. ``prctl(2)``.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
