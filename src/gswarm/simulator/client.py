"""A simulated client process: the real agent, loop and session over pretended trainers, pool and network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from gswarm.client import agent_events as ev
from gswarm.client.agent import AgentState
from gswarm.client.loop import ClientLoop, Parts
from gswarm.client.session import HostSession, Patience
from gswarm.domain.errors import GswarmError, InvariantError
from gswarm.domain.ids import ClientName, Digest, SlotId
from gswarm.domain.messages import ClientMessage, HostMessage, JobOrder, Register, StepMetrics
from gswarm.domain.plan import Checkpoint, Failure, JobKind, RunSize, SlotSpec
from gswarm.domain.spec import RunSpec
from gswarm.domain.steps import steps_per_epoch, total_steps
from gswarm.simulator.checkers import Checkers
from gswarm.simulator.pool import SimPool
from gswarm.simulator.process import Process
from gswarm.simulator.trainers import SimSnapshots, SimTrainers

if TYPE_CHECKING:
    from gswarm.simulator.world import SimClient, World

GRACE_S = 20.0
TRAIN_ROWS = 12
JOB_S = (0.2, 4.0)

_SPECS = TypeAdapter(tuple[RunSpec, ...])
_CHECKPOINT = TypeAdapter(Checkpoint)


class WatchedAgent(AgentState):
    """Tells the checkers what it hears and decides; a trap may kill its process between two effects."""

    def __init__(self, name: ClientName, slots: int, process: Process, checkers: Checkers) -> None:
        super().__init__(slots)
        self._name = name
        self._process = process
        self._checkers = checkers

    def step(self, event: ev.AgentEvent) -> list[ev.AgentEffect]:
        self._checkers.agent_hears(self._name, self, event)
        effects = super().step(event)
        self._checkers.agent_decided(self._name, self)
        return [effect for effect in effects if self._process.spend_effect()]


class SimJobs:
    """Stands for ``client.jobs.JobRunner``: one after another, what they need is fetched, what they make is stored."""

    def __init__(self, process: Process, pool: SimPool) -> None:
        self._process = process
        self._pool = pool
        self._turn = asyncio.Lock()

    async def run(self, order: JobOrder) -> ev.JobDone:
        owner = f"job:{order.job}"
        async with self._turn:
            try:
                return await self._run(order, owner)
            except GswarmError as error:
                return ev.JobDone(order.job, failure=Failure(error.code, str(error), machine_suspect=True))
            finally:
                self._pool.release(owner)

    async def _run(self, order: JobOrder, owner: str) -> ev.JobDone:
        request = json.loads(order.request_json)
        await asyncio.sleep(self._process.random.uniform(*JOB_S))
        if order.kind is JobKind.PREPARE:
            specs = _SPECS.validate_python([request["shared"] | run for run in request["runs"]])
            base = await self._pool.add_tree(owner, "model", {"weights": specs[0].model_name_or_path.encode()})
            data = await self._pool.add_tree(owner, "dataset", {"rows": specs[0].dataset.encode()})
            return ev.JobDone(order.job, "{}", sizes=tuple(_size(spec, base, data) for spec in specs))
        manifest = Digest(request["manifest"]) if "manifest" in request else _CHECKPOINT.validate_python(request["checkpoint"]).manifest
        await self._pool.unpack(owner, manifest)
        if order.kind is JobKind.VERIFY:
            return ev.JobDone(order.job, json.dumps({"equal": True}))
        made = await self._pool.add_tree(owner, "export", {"adapter": f"made of {manifest}".encode()})
        return ev.JobDone(order.job, json.dumps({"manifest": made}))


def _size(spec: RunSpec, base: Digest, data: Digest) -> RunSize:
    return RunSize(steps_per_epoch(spec, TRAIN_ROWS), total_steps(spec, TRAIN_ROWS), TRAIN_ROWS, 4, base, data)


class _NoMetrics:
    def add_step(self, row: StepMetrics) -> None: ...

    def add_log(self, line: object) -> None: ...


class ClientProgram:
    """What runs in a client's process from its start to its end. Made inside the process."""

    def __init__(self, world: World, client: SimClient, process: Process) -> None:
        self._world = world
        self._client = client
        self._process = process
        self._incarnation = f"{client.name}-{client.starts}"
        self.agent = WatchedAgent(client.name, client.shape.slots, process, world.checkers)
        self.loop = ClientLoop(self.agent, GRACE_S)
        self.snapshots = SimSnapshots()
        self.pool = SimPool(process, world.network, world.stores, world.host_core, self.snapshots)
        self.trainers = SimTrainers(
            process,
            self.pool.store,
            self.snapshots,
            client.shape.step_s,
            self.loop.on_trainer_event,
            self.loop.on_trainer_exit,
            lambda text: world.wrong("training", text),
            world.new_token,
        )
        self.jobs = SimJobs(process, self.pool)
        self.session = HostSession(
            self._open,
            self._register,
            self.loop.on_registered,
            self.loop.on_message,
            self.loop.on_lost,
            Patience(None, is_known=True),
            clock_s=process.machine.wall_s,
            random_unit=process.random.random,
        )
        pretended: Any = (self.trainers, self.pool, self.jobs, _NoMetrics(), self.snapshots)
        self.loop.attach(Parts(self.session, *pretended))

    @property
    def is_idle(self) -> bool:
        return not (self.agent.held() or self.agent.jobs() or self.agent.book.outbox)

    async def run(self) -> None:
        """Until it has left in good order or is refused; as ``client.daemon`` does."""
        talking = asyncio.create_task(self.session.run(), name="session")
        leaving = asyncio.create_task(self.loop.left.wait(), name="leaving")
        try:
            await asyncio.wait((talking, leaving, self.loop.failed), return_when=asyncio.FIRST_COMPLETED)
            if self.loop.failed.done():
                self.loop.failed.result()
            if talking.done():
                talking.result()
            if leaving.done():
                await self.session.goodbye(self.agent.leave_reason)
        except InvariantError as error:
            self._world.wrong("invariants", f"client {self._client.name}: {error.message}")
        except GswarmError as error:
            self._world.trace.note(f"{self._client.name} gives up: {error.message}")
        finally:
            self._process.die()

    def _register(self) -> Register:
        name = self._client.name
        slots = tuple(SlotSpec(SlotId(f"{name}/{index}"), "cpu") for index in range(self._client.shape.slots))
        url = f"https://{name}:1"
        return Register(name, self._incarnation, "1", url, slots, self.agent.held(), self.agent.jobs())

    async def _open(self, outgoing: AsyncIterator[ClientMessage]) -> AsyncGenerator[HostMessage, None]:
        network = self._world.network
        endpoint = await network.connect(self._process, self._world.host.machine, self._world.serve_session)

        async def speak() -> None:
            async for message in outgoing:
                network.send(endpoint, message)
            network.finish(endpoint)

        speaking = asyncio.create_task(speak(), name="speak")
        try:
            async for message in endpoint:
                yield message
        finally:
            speaking.cancel()
            network.hang_up(endpoint)
