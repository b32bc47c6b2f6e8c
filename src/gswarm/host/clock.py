"""The host's clock: the one place where time comes from, so that tests can pass their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class TimerHandle(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Seconds since the epoch, and calls at a later time. Used on one event loop's thread only."""

    def now_s(self) -> float: ...

    def call_at(self, when_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Calls ``callback`` once at ``when_s``, or as soon as possible when that has passed."""


class SystemClock:
    """Wall-clock time at the start, monotonic from there: a step of the machine's clock expires no lease."""

    def __init__(self, wall_s: Callable[[], float] = time.time, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._offset_s = wall_s() - monotonic_s()

    def now_s(self) -> float:
        return self._offset_s + self._monotonic_s()

    def call_at(self, when_s: float, callback: Callable[[], None]) -> TimerHandle:
        return asyncio.get_running_loop().call_later(max(0.0, when_s - self.now_s()), callback)
