"""The session's tries, one after another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gswarm.client.session import HostSession, Patience
from gswarm.domain.errors import ForbiddenError, StorageError, UnavailableError
from gswarm.domain.ids import ClientName
from gswarm.domain.messages import Ack, ClientMessage, HostMessage, Register, Registered


async def test_each_try_is_prepared_before_it_registers() -> None:
    """A machine that got another address says the new one when it comes back."""
    addresses = iter(["https://10.0.0.1:1", "https://10.0.0.2:1"])
    now, said = [""], list[str]()

    async def prepare() -> None:
        now[0] = next(addresses)

    def register() -> Register:
        return Register(ClientName("a"), "i1", "0.1.0", now[0], ())

    async def open_session(outgoing: AsyncIterator[ClientMessage]) -> AsyncIterator[HostMessage]:
        first = await anext(outgoing)
        assert isinstance(first, Register)
        said.append(first.data_url)
        if len(said) == 1:
            raise UnavailableError("the line is cut")
        raise ForbiddenError("enough")
        yield

    def never(*_arguments: object) -> None:
        raise AssertionError("no session stood")

    session = HostSession(open_session, register, never, never, never, Patience(None), random_unit=lambda: 1.0, prepare=prepare)
    with pytest.raises(ForbiddenError):
        await session.run()
    assert said == ["https://10.0.0.1:1", "https://10.0.0.2:1"]


@pytest.mark.parametrize(("acknowledges", "delays_s"), [(False, [0.2, 0.4, 0.8, 1.6]), (True, [0.2, 0.2, 0.2, 0.2])])
async def test_a_session_that_only_registers_makes_the_next_try_no_sooner(
    monkeypatch: pytest.MonkeyPatch, acknowledges: bool, delays_s: list[float]
) -> None:
    """What a client sends first may be what ends each of its sessions; every registration is a write of the host's journal."""
    slept, pause = list[float](), asyncio.sleep

    async def sleep(delay_s: float) -> None:
        if asyncio.current_task() is running:
            slept.append(delay_s)
            await pause(0)
        else:
            await pause(delay_s)

    async def open_session(outgoing: AsyncIterator[ClientMessage]) -> AsyncIterator[HostMessage]:
        await anext(outgoing)
        if len(slept) == len(delays_s):
            raise ForbiddenError("enough")
        yield Registered(30.0, "0.1.0", "c1")
        if acknowledges:
            yield Ack(1, accepted=True)
        raise StorageError("the disk is read-only")

    def nothing(*_arguments: object) -> None:
        """Called as sessions come and go."""

    monkeypatch.setattr(asyncio, "sleep", sleep)
    register = Register(ClientName("a"), "i1", "0.1.0", "", ())
    session = HostSession(open_session, lambda: register, nothing, nothing, lambda: None, Patience(None), random_unit=lambda: 0.0)
    running = asyncio.ensure_future(session.run())
    with pytest.raises(ForbiddenError):
        await running
    assert slept == pytest.approx(delays_s)
