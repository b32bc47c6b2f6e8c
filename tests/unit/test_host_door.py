"""The door on a clock that the test moves: who is let in, and who is shown out in the middle of something."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from gswarm.domain.errors import UnauthenticatedError, UnavailableError
from gswarm.host.access.door import Door
from gswarm.wire.tls import Peer
from manual_clock import ManualClock


@dataclass
class Revocations:
    names: set[str] = field(default_factory=set)

    def check(self, peer: Peer) -> None:
        if peer.name in self.names:
            raise UnauthenticatedError("revoked")


A, B = Peer("a", "client", expires_at_s=200.0), Peer("b", "client")


async def stay(door: Door, peer: Peer, came: asyncio.Event, done: list[str]) -> None:
    with door.inside(peer):
        came.set()
        await asyncio.Event().wait()
    done.append("left by itself")


async def guest(door: Door, peer: Peer) -> asyncio.Task[None]:
    came = asyncio.Event()
    task = asyncio.create_task(stay(door, peer, came, []))
    await came.wait()
    return task


async def test_a_revoked_guest_is_shown_out_at_once_and_the_others_stay() -> None:
    revoked, clock = Revocations(), ManualClock()
    door = Door(revoked.check, clock)
    calls = [await guest(door, A) for _ in range(3)]
    other = await guest(door, B)
    revoked.names.add("a")
    door.show_out("a")
    for call in calls:
        with pytest.raises(UnauthenticatedError, match="was revoked"):
            await call
    assert not other.done()
    with pytest.raises(UnauthenticatedError), door.inside(A):
        pytest.fail("let in again")
    assert door.refused_count == 1
    assert not any(timer.cancelled is False for timer in clock.timers)
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other
    assert len(door._visits) == 0


async def test_a_certificate_that_ends_ends_the_call_and_asks_for_another_connection() -> None:
    clock = ManualClock()
    door = Door(Revocations().check, clock)
    call, forever = await guest(door, A), await guest(door, B)
    clock.advance(99.9)
    await asyncio.sleep(0)
    assert not call.done()
    clock.advance(0.1)
    with pytest.raises(UnavailableError, match="has ended"):
        await call
    with pytest.raises(UnavailableError, match="has ended"), door.inside(A):
        pytest.fail("let in again")
    assert not forever.done()
    forever.cancel()


async def test_somebody_elses_cancellation_stays_one() -> None:
    door = Door(Revocations().check, ManualClock())
    call = await guest(door, A)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    call = await guest(door, A)
    call.cancel()
    door.show_out("a")
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_shown_out_twice_is_once_and_nobody_there_is_nothing() -> None:
    door = Door(Revocations().check, ManualClock())
    door.show_out("nobody")
    call = await guest(door, A)
    door.show_out("a")
    door.show_out("a")
    with pytest.raises(UnauthenticatedError):
        await call
    assert call.cancelling() == 0
