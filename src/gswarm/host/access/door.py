"""Who is inside, and how they are shown out: at once, in the middle of what they are doing."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gswarm.domain.errors import GswarmError, UnauthenticatedError, UnavailableError
from gswarm.host.clock import Clock
from gswarm.wire.tls import Peer

_log = logging.getLogger("gswarm.host.door")


@dataclass(slots=True, eq=False)
class Visit:
    """One call or request that is being answered."""

    task: asyncio.Task[Any]
    reason: GswarmError | None = None
    """Why it is over, once it is."""
    may_stay: bool = False

    def end(self, reason: GswarmError) -> None:
        if self.reason is None and not self.may_stay:
            self.reason = reason
            self.task.cancel()

    def stay(self) -> None:
        """From here on it is ended by nobody but itself."""
        self.may_stay = True


class Visits:
    """What is being done for whom, so that it can be ended. Used on one event loop's thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._visits: dict[str, set[Visit]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._visits.values()))

    @contextmanager
    def inside(self, who: str, expires_at_s: float, expired: Callable[[], GswarmError]) -> Iterator[Visit]:
        """Encloses what a task does for ``who``. Raises ``expired()`` at that time, and the reason of ``show_out``."""
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        visit = Visit(task)
        timer = None if math.isinf(expires_at_s) else self._clock.call_at(expires_at_s, lambda: visit.end(expired()))
        self._visits.setdefault(who, set()).add(visit)
        try:
            yield visit
        except asyncio.CancelledError:
            # As asyncio.timeout does: our own cancellation becomes the reason, anybody else's stays one.
            if visit.reason is not None and task.uncancel() <= cancelling:
                raise visit.reason from None
            raise
        finally:
            if timer is not None:
                timer.cancel()
            visits = self._visits[who]
            visits.discard(visit)
            if not visits:
                del self._visits[who]

    def show_out(self, who: str, reason: Callable[[], GswarmError]) -> None:
        """Ends everything that is being done for ``who`` now."""
        for visit in tuple(self._visits.get(who, ())):
            visit.end(reason())


class Door:
    """Encloses every call on the gRPC port and every request on the pool's port. Used on one event loop's thread.

    Args:
        check: raises UnauthenticatedError for a peer whose certificate does not count any more.
    """

    def __init__(self, check: Callable[[Peer], None], clock: Clock) -> None:
        self._check = check
        self._clock = clock
        self._visits = Visits(clock)
        self.refused_count = 0
        """Callers with a certificate that does not count, since this process started."""

    def check(self, peer: Peer) -> None:
        """Raises:
        UnauthenticatedError: the certificate was revoked.
        UnavailableError: it has ended since the connection was made; one that was renewed opens another.
        """
        try:
            self._check(peer)
        except UnauthenticatedError as error:
            self.refused_count += 1
            _log.warning("a caller is refused: %s", error.message)
            raise
        if self._clock.now_s() >= peer.expires_at_s:
            raise _ended()

    @contextmanager
    def inside(self, peer: Peer) -> Iterator[None]:
        """Encloses what a task does for ``peer``. Raises like ``check``, also later, when it is shown out or its certificate ends."""
        self.check(peer)
        with self._visits.inside(peer.name, peer.expires_at_s, _ended):
            yield

    def counts(self, peer: Peer) -> bool:
        """Whether a certificate counts that a client was shown, who asks about it; it is no caller of ours."""
        try:
            self._check(peer)
        except UnauthenticatedError:
            return False
        return True

    def show_out(self, client: str) -> None:
        """Ends everything that is being done for a client whose certificate was revoked."""
        message = f"the certificate of {client!r} was revoked"
        self._visits.show_out(client, lambda: UnauthenticatedError(message, "ask an administrator of the cluster"))


def _ended() -> UnavailableError:
    return UnavailableError("the certificate of this connection has ended", "connect again with a renewed one")
