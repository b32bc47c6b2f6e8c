"""The session's tries, one after another."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gswarm.client.session import HostSession, Patience
from gswarm.domain.errors import ForbiddenError, UnavailableError
from gswarm.domain.ids import ClientName
from gswarm.domain.messages import ClientMessage, HostMessage, Register


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
