"""The one event heap: everything that happens in a simulation happens here, in the order of virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Heap:
    """Calls by virtual time; those of one moment in the order in which they were put in.

    ``now_s`` is seconds since the simulation began. It moves only from one call to the next.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.calls = 0
        """How many were made."""
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._put = 0

    def at(self, when_s: float, call: Callable[[], None]) -> None:
        """Calls at ``when_s``, or next if that has passed."""
        self._put += 1
        heapq.heappush(self._waiting, (max(when_s, self.now_s), self._put, call))

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        self.at(self.now_s + delay_s, call)

    def step(self) -> bool:
        """Makes the next call; ``False`` if nothing is left to happen."""
        if not self._waiting:
            return False
        self.now_s, _, call = heapq.heappop(self._waiting)
        self.calls += 1
        call()
        return True
