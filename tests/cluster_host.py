"""The host of ``cluster_world``: the real parts over a loop whose flush is a JSON copy of the state."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gswarm.domain.errors import CorruptDataError, GswarmError, InvariantError
from gswarm.domain.ids import HOST_HOLDER, ClientName, Digest
from gswarm.domain.messages import HostMessage
from gswarm.host.effects import EffectRunner
from gswarm.host.intake import MetricIntake
from gswarm.host.journal.codec import canonical
from gswarm.host.loop import Submitted
from gswarm.host.reports import ReportDesk
from gswarm.host.sessions import SessionManager
from gswarm.scheduler import invariants
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect, SendGrant
from gswarm.scheduler.events import ChunkCommitted, Event
from scheduler_kit import STATE, only

if TYPE_CHECKING:
    from cluster_world import World

T = TypeVar("T")


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never has to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waits for something")


class HostKilledError(Exception):
    """Between the flush and what follows it."""


class Loop:
    """``PlanLoop`` with a flush that takes no time."""

    def __init__(self, world: World, saved: bytes) -> None:
        self.world = world
        self.state: ClusterState = STATE.validate_json(saved)
        self.saved = saved
        self.on_effects: Callable[[Sequence[Effect]], None] = lambda effects: None

    async def submit(self, event: Event) -> Submitted:
        event = canonical(event)
        before = self.world.latest(event) if isinstance(event, ChunkCommitted) else None
        effects = self.state.step(event, self.world.now_s)
        invariants.check(self.state)
        if isinstance(event, ChunkCommitted):
            self.world.check_commit(event, before)
        for effect in only(effects, SendGrant):
            self.world.grants += 1
            self.world.check_grant(effect.grant)
        self.saved = STATE.dump_json(self.state)
        if self.world.chance(60):
            raise HostKilledError
        self.on_effects(effects)
        request = getattr(event, "request", None)
        return Submitted(0, self.state.result_of(request) if request else None)

    submit_own = submit

    async def at_rest(self, look: Callable[[], T]) -> T:
        return look()


@dataclass
class Clock:
    world: World

    def now_s(self) -> float:
        return self.world.now_s

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Any:
        return self

    def cancel(self) -> None:
        """Leases and timers end when the test says so."""


@dataclass
class Keeper:
    """The host's pool: which manifests are whole there."""

    world: World

    async def lacking(self, manifest: Digest) -> list[Digest]:
        if self.world.chance(80):
            raise CorruptDataError("the host's copy is damaged")
        return [] if manifest in self.world.held_by[HOST_HOLDER] else [manifest]


class Host:
    """One host process."""

    def __init__(self, world: World, saved: bytes) -> None:
        self.world = world
        self.loop: Any = Loop(world, saved)
        clock: Any = Clock(world)
        self.effects = EffectRunner(self.loop.state, clock, self, self.loop.submit_own, lambda: None)
        nothing: Any = None
        keeper: Any = Keeper(world)
        self.desk = ReportDesk(self.loop, keeper, clock)
        intake = MetricIntake(self.loop.state, nothing, nothing)
        self.sessions = SessionManager(
            self.loop, self.effects, self.desk, intake, nothing, clock, lease_timeout_s=10.0, cluster_id="c", version="1"
        )
        self.loop.on_effects = self.effects.run
        self.sessions.start()

    @property
    def state(self) -> ClusterState:
        return self.loop.state  # type: ignore[no-any-return]

    def deliver(self, client: ClientName, message: HostMessage) -> None:
        self.sessions.deliver(client, message)

    def submit(self, event: Event) -> str | None:
        """A request or an event of the host's own; ``None`` if it is refused."""
        try:
            return drive(self.loop.submit(event)).result_id  # type: ignore[no-any-return]
        except InvariantError:
            raise
        except GswarmError:
            return None
