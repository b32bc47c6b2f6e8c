"""Wrong credentials by address: after a few an address has to wait."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from gswarm.domain.errors import TooManyAttemptsError, UnauthenticatedError
from gswarm.wire.listener import network_of

FAILURES_MAX = 10
"""In a window that begins with the first one."""
WINDOW_S = 60.0
ADDRESSES_MAX = 10_000
"""Remembered; the one whose last failure is longest ago goes first."""


class FailureThrottle:
    """Counts failures by address, an IPv6 one by its /64, which is what one machine has.

    Args:
        clock: seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        failures_max: int = FAILURES_MAX,
        window_s: float = WINDOW_S,
        addresses_max: int = ADDRESSES_MAX,
    ) -> None:
        self._clock = clock
        self._failures_max = failures_max
        self._window_s = window_s
        self._addresses_max = addresses_max
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._looks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._failures)

    @asynccontextmanager
    async def look(self, address: str) -> AsyncIterator[None]:
        """Encloses a look at a credential of that address: one at a time, so that the limit holds for those that come together.

        UnauthenticatedError counts as a failure, and so does a look that is broken off. Raises like ``check``.
        """
        lock = self._looks.setdefault(network_of(address), asyncio.Lock())
        async with lock:
            self.check(address)
            try:
                yield
            except (UnauthenticatedError, asyncio.CancelledError):
                self.failed(address)
                raise

    def failed(self, address: str) -> None:
        """A credential from that address was wrong."""
        key, now_s = network_of(address), self._clock()
        began_s, count = self._failures.pop(key, (now_s, 0))
        if now_s - began_s >= self._window_s:
            began_s, count = now_s, 0
        self._failures[key] = (began_s, count + 1)
        while len(self._failures) > self._addresses_max:
            self._failures.popitem(last=False)

    def check(self, address: str) -> None:
        """Raises:
        TooManyAttemptsError: the address has to wait before another credential of it is looked at.
        """
        began_s, count = self._failures.get(network_of(address), (0.0, 0))
        wait_s = began_s + self._window_s - self._clock()
        if count >= self._failures_max and wait_s > 0:
            raise TooManyAttemptsError(
                f"{count} credentials from {address} were wrong", f"the next one is looked at in {wait_s:.0f} s", wait_s
            )
