"""Brings alerts to one channel, at least once each, without ever holding anybody up."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable

from gswarm.domain.alerts import Alert
from gswarm.domain.errors import GswarmError, InvalidInputError
from gswarm.host.alerting.channels import Channel
from gswarm.host.clock import Clock, TimerHandle

PENDING_MAX = 1_000
"""Alerts that wait for a channel; the oldest go."""
MESSAGE_ALERTS_MAX = 100
"""In one message."""
TRIES_MAX = 20
FIRST_WAIT_S, WAIT_S_MAX = 2.0, 300.0
BROKEN_AFTER = 2
"""Failed tries in a row after which the channel is called broken."""

_log = logging.getLogger("gswarm.host.alerts")


class Courier:
    """One channel's queue and the coroutine that empties it. Used on the event loop's thread.

    Args:
        on_done: told when alerts have left the queue, delivered or given up.
    """

    def __init__(self, channel: Channel, clock: Clock, on_done: Callable[[], None]) -> None:
        self.channel = channel
        self._clock = clock
        self._on_done = on_done
        self._pending: deque[Alert] = deque()
        self._wake = asyncio.Event()
        self._carrying: asyncio.Task[None] | None = None
        self._timer: TimerHandle | None = None
        self._failures = 0
        self._error = ""
        self.dropped = 0
        """Alerts that were given up since the start."""

    @property
    def pending(self) -> tuple[Alert, ...]:
        """What is not delivered yet, in order."""
        return tuple(self._pending)

    @property
    def error(self) -> str:
        """Why the channel does not work; empty while it does."""
        return self._error if self._failures >= BROKEN_AFTER else ""

    def offer(self, alerts: Iterable[Alert]) -> None:
        self._pending.extend(alerts)
        while len(self._pending) > PENDING_MAX:
            self._pending.popleft()
            self.dropped += 1
        self._wake.set()

    def start(self) -> None:
        self._carrying = asyncio.get_running_loop().create_task(self._carry(), name=f"alerts-{self.channel.name}")

    async def close(self) -> None:
        """What waits is not delivered any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._carrying is not None:
            self._carrying.cancel()
            await asyncio.gather(self._carrying, return_exceptions=True)
        self.channel.close()

    async def _carry(self) -> None:
        while True:
            while not self._pending:
                self._wake.clear()
                await self._wake.wait()
            message = list(self._pending)[:MESSAGE_ALERTS_MAX]
            self.dropped += 0 if await self._deliver(message) else len(message)
            told = set(map(id, message))
            self._pending = deque(alert for alert in self._pending if id(alert) not in told)
            self._on_done()

    async def _deliver(self, message: list[Alert]) -> bool:
        """Whether it was taken."""
        for number in range(TRIES_MAX):
            try:
                await self.channel.send(message)
            except Exception as error:
                # Also what no channel means to raise: nobody else would begin this coroutine again.
                self._failures += 1
                self._error = error.message if isinstance(error, GswarmError) else f"gswarm made a mistake: {error!r}"[:200]
                _log.warning("%d alerts were not delivered by %s: %s", len(message), self.channel.name, self._error)
                if isinstance(error, InvalidInputError) or not isinstance(error, GswarmError):
                    self._failures = max(self._failures, BROKEN_AFTER)
                    return False
                if number < TRIES_MAX - 1:
                    await self._pause(min(FIRST_WAIT_S * 2**number, WAIT_S_MAX))
            else:
                self._failures, self._error = 0, ""
                return True
        return False

    async def _pause(self, seconds: float) -> None:
        over = asyncio.Event()
        self._timer = self._clock.call_at(self._clock.now_s() + seconds, over.set)
        await over.wait()
        self._timer = None
