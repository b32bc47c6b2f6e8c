"""A host without ports: the plan, the sessions and the pool, on a clock that the test moves; clients are coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from host_support import plan_host, slot

from gswarm.datapool.disk import DiskStore
from gswarm.datapool.manifest import ingest_folder
from gswarm.datapool.pins import Pins
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.messages import ClientMessage, HeldGrantInfo, HostMessage, LogLine, Register, Registered, StepMetrics
from gswarm.host.effects import EffectRunner
from gswarm.host.intake import MetricIntake
from gswarm.host.keeper import PoolKeeper
from gswarm.host.locate import Locator
from gswarm.host.loop import PlanLoop
from gswarm.host.reports import ReportDesk
from gswarm.host.sessions import SessionManager
from gswarm.profiler.sqlite_series import SqliteSeriesStore
from gswarm.scheduler.core import ClusterState
from gswarm.wire.tls import Peer
from manual_clock import ManualClock

LEASE_TIMEOUT_S = 10.0


class RigClock(ManualClock):
    async def advance_with(self, loop: PlanLoop, seconds: float) -> None:
        """Moves on, calls what is due in order, and returns when the plan has taken in what came of it."""
        end_s = self.time_s + seconds
        while (due := self.take_due(end_s)) is not None:
            self.time_s = max(self.time_s, due.when_s)
            due.callback()
            await asyncio.sleep(0)
            await loop.at_rest(dict)
        self.time_s = end_s


@dataclass
class Logs:
    lines: list[LogLine] = field(default_factory=list)

    def append(self, lines: object) -> None:
        self.lines.extend(lines)  # type: ignore[call-overload]


@dataclass
class FakeClient:
    """One session as the wire would run it."""

    rig: Rig
    name: str
    incarnation: str
    received: list[HostMessage] = field(default_factory=list)
    outgoing: asyncio.Queue[ClientMessage | None] = field(default_factory=asyncio.Queue)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    error: BaseException | None = None
    running: asyncio.Task[None] | None = None

    async def run(self, register: Register) -> None:
        async def messages() -> AsyncIterator[ClientMessage]:
            while (message := await self.outgoing.get()) is not None:
                yield message

        try:
            async for message in self.rig.sessions.session(Peer(self.name, "client"), register, messages()):
                self.received.append(message)
                self.arrived.set()
        except Exception as error:
            self.error = error
        finally:
            self.arrived.set()

    async def next(self, kind: type[HostMessage], count: int = 1) -> list[HostMessage]:
        """Waits for the ``count``-th message of a kind; all of the kind so far."""
        async with asyncio.timeout(60):
            while True:
                found = [message for message in self.received if isinstance(message, kind)]
                if len(found) >= count:
                    return found
                if self.error is not None:
                    raise self.error
                self.arrived.clear()
                await self.arrived.wait()

    def send(self, message: ClientMessage) -> None:
        self.outgoing.put_nowait(message)

    async def hear(self) -> None:
        """Returns once the host has read everything that was sent."""
        while not self.outgoing.empty():
            await asyncio.sleep(0)
        await self.rig.loop.at_rest(dict)

    async def ended(self) -> BaseException | None:
        assert self.running is not None
        async with asyncio.timeout(60):
            await self.running
        return self.error

    async def cut(self) -> None:
        """The connection breaks."""
        assert self.running is not None
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running


@dataclass
class Rig:
    loop: PlanLoop
    clock: RigClock
    sessions: SessionManager
    keeper: PoolKeeper
    store: DiskStore
    series: SqliteSeriesStore
    logs: Logs
    folder: Path
    clients: list[FakeClient] = field(default_factory=list)

    @property
    def state(self) -> ClusterState:
        return self.loop.state

    def connect(
        self, name: str, incarnation: str = "i1", slots: int = 1, held: tuple[HeldGrantInfo, ...] = (), data_url: str = ""
    ) -> FakeClient:
        specs = tuple(slot(name, index) for index in range(slots))
        register = Register(ClientName(name), incarnation, "0.1.0", data_url or f"https://{name}:1", specs, held)
        client = FakeClient(self, name, incarnation)
        client.running = asyncio.get_running_loop().create_task(client.run(register))
        self.clients.append(client)
        return client

    async def connected(self, name: str, incarnation: str = "i1", **options: object) -> FakeClient:
        client = self.connect(name, incarnation, **options)  # type: ignore[arg-type]
        await client.next(Registered)
        return client

    def put_checkpoint(self, text: str, files: int = 2) -> Digest:
        """Stores a manifest with some blobs in the host's pool."""
        folder = self.folder / text
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(files):
            (folder / f"{number}.bin").write_text(f"{text} {number}")
        return ingest_folder(self.store, "checkpoint", folder)[0]


class _Later:
    """The sessions, which are made after what delivers to them."""

    sessions: SessionManager

    def deliver(self, client: ClientName, message: HostMessage) -> None:
        self.sessions.deliver(client, message)


@asynccontextmanager
async def rig(directory: Path, **options: int) -> AsyncIterator[Rig]:
    clock, outbox, runner = RigClock(time_s=5_000.0), _Later(), list[EffectRunner]()
    async with plan_host(directory, lambda effects: runner[0].run(effects)) as host:
        host.time.time_s = clock.time_s
        loop = host.loop
        loop._clock = clock.now_s
        store = DiskStore(directory / "pool")
        series, logs = SqliteSeriesStore(directory / "series.db"), Logs()

        async def roots() -> tuple[Digest, ...]:
            return await loop.at_rest(loop.state.live_roots)

        keeper = PoolKeeper(store, Pins(), clock, roots, lambda swept: outbox.sessions.broadcast_sweep(swept), sweep_delay_s=5.0)
        runner.append(EffectRunner(loop.state, clock, outbox, loop.submit_own, keeper.request_sweep))
        outbox.sessions = sessions = SessionManager(
            loop,
            runner[0],
            ReportDesk(loop, keeper, clock),
            MetricIntake(loop.state, series, logs, clock.now_s),
            Locator(loop.state, store, lambda: "https://host:1"),
            clock,
            lease_timeout_s=LEASE_TIMEOUT_S,
            cluster_id="c1",
            version="0.1.0",
            **options,
        )
        sessions.start()
        runner[0].run(loop.state.outstanding_effects())
        made = Rig(loop, clock, sessions, keeper, store, series, logs, directory / "folders")
        try:
            yield made
        finally:
            await sessions.stop()
            for client in made.clients:
                await client.cut()
            runner[0].close()
            await keeper.close()
            series.close()
            store.close()


def metrics(run: str, generation: int, step: int, value: float = 1.0) -> StepMetrics:
    return StepMetrics(run, generation, step, 1.0, (("loss", value),))  # type: ignore[arg-type]
