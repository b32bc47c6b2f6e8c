"""A simulated host process: the real core over a pretended disk, serving sessions on the pretended network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from gswarm.domain.config import HostConfig, HostLimits
from gswarm.domain.errors import CorruptDataError, GswarmError, InvariantError, UnavailableError
from gswarm.domain.messages import Register
from gswarm.host.clock import SystemClock
from gswarm.host.core import HostCore
from gswarm.host.journal.snapshot import open_state
from gswarm.scheduler.effects import Effect
from gswarm.simulator.disk import SimJournal
from gswarm.simulator.network import Endpoint
from gswarm.simulator.process import Process
from gswarm.simulator.scenario import Scenario
from gswarm.wire.tls import ROLE_CLIENT, Peer

if TYPE_CHECKING:
    from gswarm.simulator.world import SimHost, World

CLUSTER = "simulated"


class TrappedCore(HostCore):
    """A trap may kill the process between two effects."""

    process: Process

    def run_effects(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if not self.process.spend_effect():
                return
            super().run_effects([effect])


class _Nowhere:
    """Stands for the stores of metrics and run logs."""

    def append(self, rows: Sequence[object]) -> None: ...


def config_of(scenario: Scenario) -> HostConfig:
    return HostConfig(
        lease_timeout_s=scenario.lease_timeout_s,
        undo_window_s=scenario.undo_window_s,
        snapshot_every_events=scenario.snapshot_every_events,
        limits=HostLimits(max_queued_events=scenario.queued_events_max),
    )


class HostProgram:
    """What runs in the host's process from its start to its end, as ``host.daemon`` does."""

    def __init__(self, world: World, host: SimHost, process: Process) -> None:
        self._world = world
        self._host = host
        self._process = process
        self.core: TrappedCore | None = None

    async def run(self) -> None:
        try:
            self.core = await self._open()
            self.core.start()
            error = await self.core.loop.failed
            self._world.trace.note(f"the host ends: {error.message}")
            if isinstance(error, InvariantError):
                self._world.wrong("invariants", error.message)
        except (InvariantError, CorruptDataError) as error:
            self._world.wrong("replay", f"the host cannot start again: {error.message}")
        finally:
            self._process.die()

    async def _open(self) -> TrappedCore:
        world, machine = self._world, self._host.machine
        constants = {"undo_window_s": repr(world.scenario.undo_window_s)}
        journal = await asyncio.to_thread(SimJournal, self._host.disk, constants, world.scenario.entries_kept)
        state, seq = await asyncio.to_thread(open_state, journal)
        world.checkers.opened(state, seq)
        clock = SystemClock(machine.wall_s, machine.monotonic_s)
        nothing: Any = _Nowhere()
        core = TrappedCore(journal, state, clock, config_of(world.scenario), self._host.store, nothing, nothing, "https://host:1", CLUSTER)
        core.process = self._process
        return core

    async def stop(self) -> None:
        """As by SIGTERM."""
        if self.core is not None:
            await self.core.stop()
        self._process.die()

    async def serve(self, endpoint: Endpoint) -> None:
        """One client's session, as ``wire.server`` does."""
        network = self._world.network
        try:
            first = await anext(endpoint)
            if not isinstance(first, Register) or self.core is None:
                raise UnavailableError("the host is starting")
            async with aclosing(self._generator(first, endpoint)) as outgoing:
                async for message in outgoing:
                    network.send(endpoint, message)
            network.finish(endpoint)
        except StopAsyncIteration:
            network.finish(endpoint)
        except GswarmError as error:
            network.finish(endpoint, error)

    def _generator(self, first: Register, endpoint: Endpoint) -> Any:
        assert self.core is not None
        return self.core.sessions.session(Peer(first.client, ROLE_CLIENT), first, endpoint)
