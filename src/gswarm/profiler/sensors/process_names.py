"""Who a process is: its account, its program and where it comes from. Remembered for as long as it lives."""

from __future__ import annotations

import os
from collections.abc import Collection

import psutil

LABEL_CHARS_MAX = 64
ANCESTORS_MAX = 32
UNKNOWN = "unknown"
"""The account of a process that cannot be looked at, for example one outside this container."""

Name = tuple[str, str, tuple[int, ...]]
"""Account, program, lineage."""


class ProcessNames:
    """Arguments are not read: people put secrets into them."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, Name]] = {}

    def of(self, pid: int) -> Name:
        """Account, program and lineage: the process, its ancestors from the parent up, the leader of its session."""
        try:
            process = psutil.Process(pid)
            began_s = process.create_time()
            known = self._known.get(pid)
            if known is None or known[0] != began_s:
                known = self._known[pid] = (began_s, _look(process))
            return known[1]
        except (psutil.Error, OSError):
            self._known.pop(pid, None)
            return UNKNOWN, "", (pid,)

    def forget_others(self, pids: Collection[int]) -> None:
        """Only these are still there."""
        for pid in [pid for pid in self._known if pid not in pids]:
            del self._known[pid]


def _look(process: psutil.Process) -> Name:
    lineage = [process.pid, *(parent.pid for parent in process.parents()[:ANCESTORS_MAX]), os.getsid(process.pid)]
    return label(process.username()) or UNKNOWN, label(process.name()), tuple(dict.fromkeys(lineage))


def label(text: str) -> str:
    """A name from anywhere, as it may be shown: printable and not too long."""
    return "".join(char for char in text if char.isprintable())[:LABEL_CHARS_MAX]
