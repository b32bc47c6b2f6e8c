"""Delivery at least once, with limits, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gswarm.domain.alerts import Alert, AlertRule, Severity, Subject
from gswarm.domain.errors import InvalidInputError, UnavailableError
from gswarm.host.alerting.courier import MESSAGE_ALERTS_MAX, PENDING_MAX, TRIES_MAX, WAIT_S_MAX, Courier
from manual_clock import ManualClock

DOWN = UnavailableError("down")


def alert(number: int) -> Alert:
    return Alert(f"xid-{number}", AlertRule.XID, Severity.WARNING, Subject("a", f"gpu:{number}"), "text", None, 1.0)


class Recording:
    """A channel that fails as it is told, then takes everything."""

    name = "recording"

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.tries = 0
        self.taken: list[list[str]] = []
        self.closed = False

    async def send(self, alerts: Sequence[Alert]) -> None:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append([one.id for one in alerts])

    def close(self) -> None:
        self.closed = True


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def carried(channel: Recording, clock: ManualClock) -> AsyncIterator[Courier]:
    courier = Courier(channel, clock, lambda: None)
    courier.start()
    yield courier
    await courier.close()
    assert channel.closed


async def test_what_fails_is_tried_again_and_waits_longer_each_time() -> None:
    channel, clock = Recording(DOWN, DOWN, DOWN), ManualClock()
    async with carried(channel, clock) as courier:
        courier.offer([alert(1)])
        await settle()
        assert (channel.tries, courier.error, len(courier.pending)) == (1, "", 1)
        for tries, wait_s in ((2, 2.0), (3, 4.0), (4, 8.0)):
            clock.advance(wait_s - 0.1)
            await settle()
            assert channel.tries == tries - 1
            clock.advance(0.1)
            await settle()
            assert channel.tries == tries
            assert courier.error == ("" if tries == 4 else "down")
        assert (channel.taken, courier.pending, courier.dropped) == ([["xid-1"]], (), 0)


async def test_it_gives_up_and_goes_on_with_the_next() -> None:
    channel, clock = Recording(*[DOWN] * TRIES_MAX), ManualClock()
    async with carried(channel, clock) as courier:
        courier.offer([alert(1)])
        for _ in range(TRIES_MAX):
            await settle()
            clock.advance(WAIT_S_MAX)
        assert (channel.tries, courier.dropped, courier.pending) == (TRIES_MAX, 1, ())
        assert courier.error == "down", "it is shown until something gets through"
        courier.offer([alert(2)])
        await settle()
        assert (channel.taken, courier.error) == ([["xid-2"]], "")


async def test_a_refusal_is_not_repeated_and_shown_at_once() -> None:
    channel = Recording(InvalidInputError("the webhook answers 404"))
    async with carried(channel, ManualClock()) as courier:
        courier.offer([alert(1)])
        await settle()
        assert (channel.tries, courier.dropped, courier.error) == (1, 1, "the webhook answers 404")


async def test_a_mistake_of_a_channel_does_not_end_the_courier() -> None:
    channel = Recording(ValueError("nan"))
    async with carried(channel, ManualClock()) as courier:
        courier.offer([alert(1)])
        await settle()
        assert (courier.dropped, courier.error) == (1, "gswarm made a mistake: ValueError('nan')")
        courier.offer([alert(2)])
        await settle()
        assert (channel.taken, courier.error) == ([["xid-2"]], "")


async def test_many_alerts_are_few_messages_in_order() -> None:
    channel = Recording()
    async with carried(channel, ManualClock()) as courier:
        courier.offer(alert(number) for number in range(250))
        await settle()
        assert [len(message) for message in channel.taken] == [MESSAGE_ALERTS_MAX, MESSAGE_ALERTS_MAX, 50]
        assert [one for message in channel.taken for one in message] == [f"xid-{number}" for number in range(250)]


async def test_the_queue_has_an_end() -> None:
    channel, clock = Recording(DOWN), ManualClock()
    async with carried(channel, clock) as courier:
        courier.offer([alert(0)])
        await settle()
        courier.offer(alert(number) for number in range(1, PENDING_MAX + 5))
        assert (len(courier.pending), courier.dropped) == (PENDING_MAX, 5)
        clock.advance(2.0)
        await settle()
        assert channel.taken[0] == ["xid-0"], "what was on its way arrives"
        assert sum(map(len, channel.taken)) == PENDING_MAX + 1
