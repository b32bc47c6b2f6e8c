"""Who was heard when, and whose leases have run out. Soft state: nothing here is journaled but the loss itself."""

from __future__ import annotations

from collections.abc import Callable

from gswarm.domain.ids import ClientName
from gswarm.host.clock import Clock, TimerHandle

_COALESCE = 50
"""Clients whose leases end within a fiftieth of the timeout are looked at together."""
STALL_SHARE = 0.1
"""A look that comes later than this share of the timeout means that nobody could be heard for a while."""


class LeaseWatch:
    """One timer for all clients, at the earliest deadline.

    Args:
        on_expired: called once per client that was silent for ``timeout_s``; it is forgotten then until it is heard anew by ``begin``.
    """

    def __init__(self, clock: Clock, timeout_s: float, on_expired: Callable[[ClientName], None]) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._on_expired = on_expired
        self._heard_s: dict[ClientName, float] = {}
        self._timer: TimerHandle | None = None

    def begin(self, client: ClientName) -> None:
        """Watches the client from now on."""
        self._heard_s[client] = self._clock.now_s()
        if self._timer is None:
            self._arm()

    def heard(self, client: ClientName) -> None:
        """Renews the leases of a watched client."""
        if client in self._heard_s:
            self._heard_s[client] = self._clock.now_s()

    def forget(self, client: ClientName) -> None:
        self._heard_s.pop(client, None)

    def remaining_s(self, client: ClientName) -> float:
        """Seconds until the client's leases are over; 0 if it is not watched."""
        heard_s = self._heard_s.get(client)
        return 0.0 if heard_s is None else max(0.0, heard_s + self._timeout_s - self._clock.now_s())

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._heard_s.clear()

    def _arm(self) -> None:
        now_s = self._clock.now_s()
        due_s = max(min(self._heard_s.values()) + self._timeout_s, now_s + self._timeout_s / _COALESCE)
        self._timer = self._clock.call_at(due_s, lambda: self._look(due_s))

    def _look(self, due_s: float) -> None:
        self._timer = None
        now_s = self._clock.now_s()
        if now_s - due_s > self._timeout_s * STALL_SHARE:
            # This process itself stood still: what the clients sent meanwhile has not been read yet.
            self._heard_s = dict.fromkeys(self._heard_s, now_s)
        expired = [client for client, heard_s in self._heard_s.items() if now_s - heard_s >= self._timeout_s]
        for client in expired:
            del self._heard_s[client]
            self._on_expired(client)
        if self._heard_s and self._timer is None:
            self._arm()
