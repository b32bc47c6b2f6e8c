"""One simulated cluster, from its start over everything that happens to it to the end of all its work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from gswarm.datapool.pins import Pins
from gswarm.domain.errors import UnavailableError
from gswarm.domain.ids import HOST_HOLDER, ClientName
from gswarm.domain.messages import Heartbeat
from gswarm.domain.plan import RunState
from gswarm.host.core import HostCore
from gswarm.host.journal.snapshot import encode_state
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.job_index import is_finished
from gswarm.simulator.checkers import Checkers
from gswarm.simulator.client import ClientProgram
from gswarm.simulator.disk import JournalDisk, SimStore
from gswarm.simulator.faults import Faults
from gswarm.simulator.heap import Heap
from gswarm.simulator.host import HostProgram
from gswarm.simulator.network import Endpoint, Network
from gswarm.simulator.people import Person
from gswarm.simulator.process import Machine, Process
from gswarm.simulator.scenario import PEOPLE, ClientShape, Happening, Scenario
from gswarm.simulator.trace import Trace, short

RESTART_S = (0.2, 8.0)
"""A process that has ended is started again after so long."""
HEALED_S_MAX = 1_500.0
"""When nothing goes wrong any more all work ends within this time."""
PUT_RIGHT_EVERY_S = 20.0
LOOK_EVERY_S = 5.0
AGED_S = 4 * 3_600.0
"""After this everything that nothing refers to is old enough to be swept."""
SWEEP_S = 45.0
"""A host that has started sweeps within this time, and the clients after it."""
CALLS_MAX = 60_000
GRANTS_PER_CHUNK_MAX = 6
"""Once all is healed."""
GRANTS_SPARE = 60
ENDED = frozenset({RunState.COMPLETED, RunState.DELETING, RunState.DELETED})


@dataclass(frozen=True, slots=True)
class Violation:
    """The first thing that was wrong."""

    checker: str
    text: str
    at_s: float


@dataclass
class SimHost:
    machine: Machine
    store: SimStore
    disk: JournalDisk
    program: HostProgram | None = None

    @property
    def core(self) -> HostCore | None:
        """The parts of the process that runs now, if it is up."""
        return self.program.core if self.program is not None and self.machine.process is not None else None


@dataclass
class SimClient:
    name: ClientName
    shape: ClientShape
    machine: Machine
    program: ClientProgram | None = None
    starts: int = 0


class World:
    """A scenario being played. ``play`` does it all; what was wrong first is in ``violation``."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.violation: Violation | None = None
        self.heap = Heap()
        self.trace = Trace(self.heap)
        self._random = scenario.stream("world")
        self._tokens = 0
        self._deletions: set[str] = set()
        self.network = Network(self.heap, scenario.stream("network"), scenario.latency_s, self._on_message, scenario.stream("copies"))
        host_machine = Machine(self.heap, HOST_HOLDER, scenario.stream("host"))
        self.host = SimHost(host_machine, SimStore(host_machine), JournalDisk(host_machine))
        self.clients = {shape.name: SimClient(shape.name, shape, self._machine(shape.name)) for shape in scenario.clients}
        self.stores = {HOST_HOLDER: (host_machine, self.host.store)}
        self.stores |= {client.name: (client.machine, SimStore(client.machine)) for client in self.clients.values()}
        stores = {name: store for name, (_, store) in self.stores.items()}
        self.checkers = Checkers(scenario, stores, self.wrong, self.trace.note, lambda: self.host.core)
        self.host.disk.on_flushed = self.checkers.flushed
        for name, store in stores.items():
            store.on_deleted = lambda name=name: self._deleted(name)  # type: ignore[misc]
        self._laptop = self._machine("laptop")
        self.person = Person(self, self._process(self._laptop, lambda: None))
        self.faults = Faults(self)

    def _machine(self, name: str) -> Machine:
        return Machine(self.heap, name, self.scenario.stream(name))

    @property
    def machines(self) -> list[Machine]:
        return [machine for machine, _ in self.stores.values()]

    @property
    def plan(self) -> ClusterState:
        """As it is on the disk."""
        return self.checkers.plan

    def host_core(self) -> HostCore:
        """Raises UnavailableError while the host is starting."""
        core = self.host.core
        if core is None:
            raise UnavailableError("the host is starting")
        return core

    def new_token(self) -> int:
        self._tokens += 1
        return self._tokens

    def wrong(self, checker: str, text: str) -> None:
        if self.violation is None:
            self.violation = Violation(checker, text, self.heap.now_s)
            self.trace.note(f"WRONG ({checker}): {text}")

    async def serve_session(self, endpoint: Endpoint) -> None:
        if self.host.program is not None:
            await self.host.program.serve(endpoint)

    def _on_message(self, source: str, target: str, item: Any) -> None:
        if not isinstance(item, Heartbeat):
            self.trace.note(f"{source} -> {target}: {short(item)}")

    def _deleted(self, name: str) -> None:
        """One look for all that is deleted at one moment."""
        if name not in self._deletions:
            self._deletions.add(name)
            self.heap.after(0.0, lambda: self._look_at_deletions(name))

    def _look_at_deletions(self, name: str) -> None:
        self._deletions.discard(name)
        self.trace.note(f"{name} has deleted blobs")
        self.checkers.deleted(name)

    # ---- processes -------------------------------------------------------------------------------------------------

    def _process(self, machine: Machine, restart: Callable[[], None]) -> Process:
        def died(process: Process) -> None:
            self.trace.note(f"{process.name} is gone")
            self.network.process_died(process)
            self.heap.after(self._random.uniform(*RESTART_S), restart)

        return Process(machine, machine.name, machine.random, lambda text: self.wrong("crash", text), died)

    def _start(self, process: Process, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.trace.note(f"{process.name} starts")
        process.call_soon(lambda: process.create_task(make(), name=f"main of {process.name}"))

    def _start_host(self) -> None:
        if self.host.machine.process is None:
            process = self._process(self.host.machine, self._start_host)
            self.host.program = program = HostProgram(self, self.host, process)
            self._start(process, program.run)

    def _start_client(self, client: SimClient) -> None:
        if client.machine.process is not None:
            return
        client.starts += 1
        client.program = None
        process = self._process(client.machine, lambda: self._start_client(client))

        async def run() -> None:
            client.program = ClientProgram(self, client, process)
            await client.program.run()

        self._start(process, run)

    # ---- the play --------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Everything goes wrong, then nothing more does, then everything must end and nothing may be left."""
        self._start_host()
        for client in self.clients.values():
            self._start_client(client)
        for happening in self.scenario.happenings:
            self.heap.at(happening.at_s, lambda happening=happening: self._happen(happening))  # type: ignore[misc]
        self._run_until(self.scenario.rough_s)
        self._heal()
        if self.violation is None:
            self._run_to_the_end()
        if self.violation is None:
            self._age()
        self._end()

    def digest(self) -> str:
        """Of everything that happened and of where it led."""
        return self.trace.digest(encode_state(self.plan) + str(self.heap.calls).encode())

    def _end(self) -> None:
        for machine in (*self.machines, self._laptop):
            if machine.process is not None:
                machine.process.die()

    def _happen(self, happening: Happening) -> None:
        self.trace.note(f"* {happening.kind}")
        if happening.kind in PEOPLE:
            self.person.act(happening)
        else:
            self.faults.act(happening)

    def _run_until(self, until_s: float) -> None:
        stop = [False]
        self.heap.at(until_s, lambda: stop.__setitem__(0, True))
        while not stop[0] and self.violation is None and self.heap.step():
            if self.heap.calls > CALLS_MAX:
                self.wrong("progress", f"{CALLS_MAX} calls and no end")

    def _heal(self) -> None:
        self.trace.note("* everything is healed")
        self.faults.heal()

    def _run_to_the_end(self) -> None:
        granted, began_s = self.checkers.grants, self.heap.now_s
        turn, put_right_s = 0, began_s
        while self.violation is None and not (self.is_done and turn > 0):
            if self.heap.now_s >= put_right_s:
                turn, put_right_s = turn + 1, self.heap.now_s + PUT_RIGHT_EVERY_S
                self.person.put_right(turn)
            self._run_until(self.heap.now_s + LOOK_EVERY_S)
            if self.heap.now_s - began_s > HEALED_S_MAX:
                self.wrong("progress", f"work is left {HEALED_S_MAX:.0f} s after everything was healed: {self._left()}")
        steps = sum(run.total_steps for run in self.plan.runs.values())
        if self.checkers.grants - granted > GRANTS_PER_CHUNK_MAX * steps + GRANTS_SPARE:
            self.wrong("progress", f"{self.checkers.grants - granted} grants for {steps} steps: they go back and forth")

    @property
    def is_done(self) -> bool:
        idle = all(client.program is not None and client.program.is_idle for client in self.clients.values())
        return idle and not self.person.asking and not self._left()

    def _left(self) -> str:
        runs = [f"{run.id} is {run.state} at {run.position}/{run.total_steps}" for run in self.plan.runs.values() if run.state not in ENDED]
        jobs = [f"{job.id} is open" for job in self.plan.jobs.values() if not is_finished(job)]
        return ", ".join(runs + jobs)

    def _age(self) -> None:
        """Much later, after a restart: the journal gives the same state again, and nothing unreachable is left anywhere."""
        while self.violation is None and self.plan.timers:
            self._run_until(self.heap.now_s + LOOK_EVERY_S)
        self._check_nothing_pinned()
        self.trace.note("* four hours later")
        for machine in self.machines:
            machine.wall_offset_s += AGED_S
        if self.host.machine.process is not None:
            self.host.machine.process.die()
        self._run_until(self.heap.now_s + SWEEP_S)
        if self.violation is None:
            self.checkers.check_nothing_left()

    def _check_nothing_pinned(self) -> None:
        """All work has ended and a sweep has gone by: nobody has anything to hold on to. The restart that follows would hide a leak."""
        core, process = self.host.core, self.host.machine.process
        if core is not None and process is not None:
            process.call_soon(core.keeper.request_sweep)
        self._run_until(self.heap.now_s + SWEEP_S)
        held: dict[str, Pins] = {client.name: client.program.pool.pins for client in self.clients.values() if client.program is not None}
        if core is not None and core is self.host.core:
            held[HOST_HOLDER] = core.keeper.pins
        for name, pins in held.items():
            if pins.pinned():
                self.wrong("blobs", f"{name} still pins {len(pins.pinned())} blobs after all work has ended")
