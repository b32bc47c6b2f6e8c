"""Carries out what the core decided, after the flush: messages to sessions, timers, sweeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gswarm.domain.errors import GswarmError
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.messages import HostMessage
from gswarm.host.clock import Clock, TimerHandle
from gswarm.host.orders import order_of
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect, SendDrop, SendGrant, SendJob, SendRevoke, SendStop, StartTimer, SweepBlobs
from gswarm.scheduler.events import Event, TimerFired


class Outbox(Protocol):
    def deliver(self, client: ClientName, message: HostMessage) -> None:
        """Queues the message for the client's session. Without a session it is dropped: registering asks for what is outstanding."""


class EffectRunner:
    """Called on the event loop's thread, in the order of the effects; never waits.

    Args:
        submit: gives an event of the host's own to the plan loop.
        request_sweep: asks for a sweep of the pools, soon.
        trusted_code: digests of models' code that an admin has consented to; they travel with every order.
    """

    def __init__(
        self,
        state: ClusterState,
        clock: Clock,
        outbox: Outbox,
        submit: Callable[[Event], Awaitable[object]],
        request_sweep: Callable[[], None],
        trusted_code: tuple[str, ...] = (),
    ) -> None:
        self._state = state
        self._clock = clock
        self._outbox = outbox
        self._submit = submit
        self._request_sweep = request_sweep
        self._trusted_code = tuple(map(Digest, trusted_code))
        self._timers: dict[str, TimerHandle] = {}
        self._firing: set[asyncio.Task[None]] = set()

    def run(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendGrant() | SendStop() | SendRevoke() | SendDrop() | SendJob():
                    order = order_of(self._state, effect, self._trusted_code)
                    if order is not None:
                        self._outbox.deliver(effect.client, order)
                case StartTimer(key=key, due_at_s=due_at_s):
                    self._start_timer(key, due_at_s)
                case SweepBlobs():
                    self._request_sweep()

    def outstanding(self, client: ClientName) -> list[HostMessage]:
        """What the client must be told when it registers. Call it while state and disk are equal."""
        orders = (order_of(self._state, effect, self._trusted_code) for effect in self._state.outstanding_effects(client))
        return [order for order in orders if order is not None]

    def _start_timer(self, key: str, due_at_s: float) -> None:
        earlier = self._timers.pop(key, None)
        if earlier is not None:
            earlier.cancel()
        self._timers[key] = self._clock.call_at(due_at_s, lambda: self._fire(key))

    def _fire(self, key: str) -> None:
        self._timers.pop(key, None)
        task = asyncio.get_running_loop().create_task(self._submit_fired(key))
        self._firing.add(task)
        task.add_done_callback(self._firing.discard)

    async def _submit_fired(self, key: str) -> None:
        # Refused means stale, a failed loop means the host ends: the timer starts again with it.
        try:
            await self._submit(TimerFired(key))
        except GswarmError:
            return

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
