"""The control session with the host: opened, kept alive, opened again after every loss."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from gswarm.domain.errors import (
    ConflictError,
    ForbiddenError,
    GswarmError,
    IncompatibleVersionError,
    InvalidInputError,
    InvariantError,
    UnauthenticatedError,
    UnavailableError,
)
from gswarm.domain.messages import Ack, ClientMessage, Goodbye, Heartbeat, HostMessage, Register, Registered
from gswarm.wire.client import Backoff

logger = logging.getLogger(__name__)

HEARTBEATS_PER_LEASE = 3
REGISTER_S = 60.0
"""How long the host may take to answer a registration."""
STEADY_S = 5.0
"""A session that stood for that long was no accident, so that the next try may be soon."""
GOODBYE_S = 3.0
"""How long the host may take to hear the last word."""
CONFLICT_PATIENCE_S = 60.0
"""After a restart the host may count on this client's last process until its lease is over."""

_HOPELESS = (IncompatibleVersionError, ForbiddenError, UnauthenticatedError, InvalidInputError, InvariantError)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client tries.

    Args:
        give_up_s: without a session for that long, the client ends; ``None`` means never.
        is_known: the host may remember this client's last process, so that a refusal of the name is worth a wait.
    """

    give_up_s: float | None = 60.0
    is_known: bool = False


class HostSession:
    """Keeps one session open. Callbacks are called in the event loop, in the order of what happened.

    Args:
        open_session: ``HostConnection.session``.
        register: makes the first message of each session from the present state.
        on_registered: told that the session stands; what it sends comes right after ``Register``.
        on_message: takes everything else the host says.
        on_lost: told that a session which stood is over.
        random_unit: for the delays between tries, as in ``Backoff``.
        prepare: done before each try, ahead of ``register``.
    """

    def __init__(
        self,
        open_session: Callable[[AsyncIterator[ClientMessage]], AsyncIterator[HostMessage]],
        register: Callable[[], Register],
        on_registered: Callable[[Registered], None],
        on_message: Callable[[HostMessage], None],
        on_lost: Callable[[], None],
        patience: Patience,
        clock_s: Callable[[], float] = time.time,
        random_unit: Callable[[], float] = random.random,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._open_session = open_session
        self._register = register
        self._on_registered = on_registered
        self._on_message = on_message
        self._on_lost = on_lost
        self._patience = patience
        self._clock_s = clock_s
        self._random_unit = random_unit
        self._prepare = prepare
        self._outgoing: asyncio.Queue[ClientMessage | None] | None = None
        self._has_stood = False
        self._is_leaving = False
        self._over = asyncio.Event()

    def send(self, message: ClientMessage) -> None:
        """Queues a message for the session that stands; without one it is dropped (reports wait in the agent)."""
        if self._outgoing is not None:
            self._outgoing.put_nowait(message)

    async def goodbye(self, reason: str) -> None:
        """Says the last word and waits a little until the host has heard it."""
        self._is_leaving = True
        if self._outgoing is not None:
            self._outgoing.put_nowait(Goodbye(reason))
            self._outgoing.put_nowait(None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._over.wait()

    async def run(self) -> None:
        """Until ``goodbye`` or cancellation.

        Raises:
            GswarmError: the host refuses this client for good, or was away for longer than the patience lasts.
        """
        backoff = Backoff(initial_s=0.2, max_s=10.0, random_unit=self._random_unit)
        loop = asyncio.get_running_loop()
        away_since_s = loop.time()
        while True:
            stood, error = await self._one_session(backoff)
            if self._is_leaving:
                return
            if stood:
                away_since_s = loop.time()
            self._check_hope(error, loop.time() - away_since_s)
            delay_s = next(backoff)
            logger.info("no session with the host (%s); next try in %.1f s", error, delay_s)
            await asyncio.sleep(delay_s)

    def _check_hope(self, error: GswarmError, away_s: float) -> None:
        if isinstance(error, _HOPELESS):
            raise error
        if isinstance(error, ConflictError) and not self._has_stood and (not self._patience.is_known or away_s > CONFLICT_PATIENCE_S):
            raise error
        if self._patience.give_up_s is not None and away_s > self._patience.give_up_s:
            raise UnavailableError(
                f"the host was away for {away_s:.0f} s: {error.message}", "check that it runs; --resilient waits for ever"
            ) from error

    async def _one_session(self, backoff: Backoff) -> tuple[bool, GswarmError]:
        """Whether the session stood, and why it is over."""
        if self._prepare is not None:
            await self._prepare()
        queue: asyncio.Queue[ClientMessage | None] = asyncio.Queue()
        queue.put_nowait(self._register())
        heartbeats: asyncio.Task[None] | None = None
        stands = False
        stood_since_s = asyncio.get_running_loop().time()
        error: GswarmError = UnavailableError("the host ended the session", "connecting again")
        self._over.clear()
        try:
            async with asyncio.timeout(REGISTER_S) as limit:
                async for message in self._open_session(_until_none(queue)):
                    if isinstance(message, Registered):
                        limit.reschedule(None)
                        stands = self._has_stood = True
                        stood_since_s = asyncio.get_running_loop().time()
                        self._outgoing = queue
                        heartbeats = asyncio.create_task(self._beat(message.lease_timeout_s / HEARTBEATS_PER_LEASE))
                        logger.info("registered with cluster %s, host version %s", message.cluster_id, message.host_version)
                        self._on_registered(message)
                    else:
                        if isinstance(message, Ack):
                            # Not with the registration: what this client sends first may be what ends each session.
                            backoff.reset()
                        self._on_message(message)
        except GswarmError as raised:
            error = raised
        except TimeoutError:
            error = UnavailableError(f"the host took longer than {REGISTER_S:.0f} s to let this client in", "check the host's load")
        finally:
            self._outgoing = None
            self._over.set()
            if heartbeats is not None:
                heartbeats.cancel()
            if stands:
                if asyncio.get_running_loop().time() - stood_since_s >= STEADY_S:
                    backoff.reset()
                self._on_lost()
        return stands, error

    async def _beat(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self.send(Heartbeat(self._clock_s()))


async def _until_none(queue: asyncio.Queue[ClientMessage | None]) -> AsyncIterator[ClientMessage]:
    while (message := await queue.get()) is not None:
        yield message
