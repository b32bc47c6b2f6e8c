"""A client that is told to sweep spares what it holds at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from gswarm.client.agent import AgentState
from gswarm.client.loop import ClientLoop, Parts
from gswarm.datapool.pins import Pins
from gswarm.domain.ids import Digest
from gswarm.domain.messages import SweepOrder

ROOT, PINNED = Digest("a" * 64), Digest("b" * 64)


class Pool:
    def __init__(self) -> None:
        self.pins = Pins()
        self.spared: list[set[Digest]] = []

    async def sweep(self, roots: Sequence[Digest]) -> None:
        self.spared.append(set(roots))


async def test_what_is_let_go_of_before_the_sweep_begins_is_spared() -> None:
    """It has become a root that the host did not know yet when it gave the order."""
    pool, loop = Pool(), ClientLoop(AgentState(1), 1.0)
    nothing: Any = None
    pretended: Any = pool
    loop.attach(Parts(nothing, nothing, pretended, nothing, nothing, nothing))
    pool.pins.pin([PINNED], "grant:r1:1")
    loop.on_message(SweepOrder((ROOT,)))
    pool.pins.unpin("grant:r1:1")
    await asyncio.gather(*loop._other_work)
    assert pool.spared == [{ROOT, PINNED}]
    loop.on_message(SweepOrder((ROOT,)))
    await asyncio.gather(*loop._other_work)
    assert pool.spared[-1] == {ROOT}
