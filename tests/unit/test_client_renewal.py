"""Renewal on a clock that the test moves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from gswarm.client.renewal import LOOK_AGAIN_S, Renewal
from gswarm.domain.errors import UnavailableError
from gswarm.wire.tls import CertificateAuthority, ClientTls, make_key_and_csr

START = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
AUTHORITY = CertificateAuthority.create("c1", START)


class EnoughError(Exception):
    """Ends the loop that would go on for ever."""


@dataclass
class World:
    """Sleeping moves the clock; the host issues certificates of a day, or is away."""

    now: datetime = START
    away_until: datetime = START
    steps_s: list[float] = field(default_factory=list)
    asked_at: list[datetime] = field(default_factory=list)
    shown: list[ClientTls] = field(default_factory=list)
    renewals_max: int = 3

    def now_s(self) -> float:
        return self.now.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.steps_s.append(seconds)
        self.now += timedelta(seconds=seconds)

    def issue(self) -> ClientTls:
        key, csr = make_key_and_csr("a")
        return ClientTls(AUTHORITY.issue_client(csr, "a", DAY, self.now, "e1"), key, AUTHORITY.ca_pem)

    async def renew(self, before: ClientTls) -> ClientTls:
        self.asked_at.append(self.now)
        assert self.shown == [] or before == self.shown[-1], "the newest one is shown"
        if self.now < self.away_until:
            raise UnavailableError("the host is away")
        return self.issue()

    async def show(self, tls: ClientTls) -> None:
        self.shown.append(tls)
        if len(self.shown) == self.renewals_max:
            raise EnoughError


async def run(world: World) -> None:
    with pytest.raises(EnoughError):
        await Renewal(world.issue(), world.renew, world.show, world.now_s, world.sleep).run()


async def test_each_certificate_is_replaced_after_a_third_of_its_life_with_a_key_of_its_own() -> None:
    world = World()
    await run(world)
    assert world.asked_at == [START + number * DAY / 3 for number in (1, 2, 3)]
    assert len({tls.key_pem for tls in world.shown}) == 3
    assert max(world.steps_s) <= LOOK_AGAIN_S


async def test_a_host_that_is_away_is_asked_again_less_and_less_often_until_it_is_back() -> None:
    world = World(away_until=START + timedelta(hours=20), renewals_max=1)
    await run(world)
    assert START + timedelta(hours=20) <= world.asked_at[-1] <= START + timedelta(hours=20, minutes=11)
    assert len(world.asked_at) < 200


async def test_a_machine_that_slept_beyond_the_time_asks_at_once() -> None:
    world = World(renewals_max=1)

    async def suspended(_seconds: float) -> None:
        world.now += timedelta(hours=20)

    with pytest.raises(EnoughError):
        await Renewal(world.issue(), world.renew, world.show, world.now_s, suspended).run()
    assert world.asked_at == [START + timedelta(hours=20)]


async def test_cancelling_ends_it() -> None:
    world = World()
    task = asyncio.create_task(Renewal(world.issue(), world.renew, world.show, world.now_s, asyncio.sleep).run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
