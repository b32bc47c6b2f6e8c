"""The simulated machine itself: processes that die and freeze, connections that break, disks that tear."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import product
from random import Random

import pytest
from typer.testing import CliRunner

from gswarm.cli.main import app
from gswarm.domain.errors import CorruptDataError, InvariantError, StorageError, UnavailableError
from gswarm.domain.ids import ClientName, RequestId, RunId
from gswarm.domain.plan import ClientState, RunOp, RunState
from gswarm.host.journal.protocol import Entry
from gswarm.scheduler.events import RunOpRequested
from gswarm.simulator.disk import FlushTrap, JournalDisk, SimJournal
from gswarm.simulator.heap import Heap
from gswarm.simulator.network import Endpoint, Network
from gswarm.simulator.process import Machine, Process
from gswarm.simulator.scenario import ClientShape, Happening, Kind, draw
from gswarm.simulator.world import World


class Bench:
    """Two machines with a process each, and the network between them."""

    def __init__(self) -> None:
        self.heap = Heap()
        self.broken: list[str] = []
        self.network = Network(self.heap, Random(1), 0.01, lambda source, target, item: None, Random(2))
        self.left, self.right = self.start("left"), self.start("right")

    def start(self, name: str) -> Process:
        machine = Machine(self.heap, name, Random(name))
        return Process(machine, name, Random(name), self.broken.append, self.network.process_died)

    def run(self, until_s: float) -> None:
        is_over: list[bool] = []
        self.heap.at(until_s, lambda: is_over.append(True))
        while not is_over:
            self.heap.step()

    def connect(self, heard: list[object]) -> Endpoint:
        """The right side notes what it hears. Takes a second."""
        ends: list[Endpoint] = []

        async def serve(endpoint: Endpoint) -> None:
            async for item in endpoint:
                heard.append(item)  # noqa: PERF401 - as it comes

        async def open_it() -> None:
            ends.append(await self.network.connect(self.left, self.right.machine, serve))

        self.left.call_soon(lambda: self.left.create_task(open_it()))
        self.run(self.heap.now_s + 1.0)
        return ends[0]


def test_a_connection_keeps_its_order_also_over_a_partition() -> None:
    bench, heard = Bench(), list[object]()
    end = bench.connect(heard)
    bench.network.send(end, 1)
    bench.network.send(end, 2)
    bench.run(2.0)
    bench.network.block(bench.left.machine, bench.right.machine)
    bench.network.send(end, 3)
    bench.network.send(end, 4)
    bench.run(3.0)
    assert heard == [1, 2]
    bench.network.unblock(bench.left.machine, bench.right.machine)
    bench.network.send(end, 5)
    bench.run(4.0)
    assert heard == [1, 2, 3, 4, 5]
    assert bench.broken == []


def test_what_is_on_its_way_is_lost_with_the_connection_and_the_other_side_finds_out() -> None:
    bench, heard = Bench(), list[object]()
    end = bench.connect(heard)
    bench.network.send(end, 1)
    bench.run(2.0)
    bench.network.send(end, 2)
    bench.right.die()
    bench.run(20.0)
    assert heard == [1]
    assert end.is_closed


def test_a_long_partition_ends_the_connection_on_both_sides() -> None:
    bench = Bench()
    end = bench.connect([])
    bench.network.block(bench.right.machine, bench.left.machine)
    bench.run(30.0)
    assert end.is_closed
    assert end.peer.is_closed


def test_a_call_whose_answer_is_lost_says_that_nobody_knows() -> None:
    bench, done, errors = Bench(), list[int](), list[Exception]()

    async def work() -> int:
        done.append(1)
        bench.network.block(bench.right.machine, bench.left.machine)
        return 1

    async def ask() -> None:
        try:
            await bench.network.call(bench.left, bench.right.machine, work)
        except UnavailableError as error:
            errors.append(error)

    bench.left.call_soon(lambda: bench.left.create_task(ask()))
    bench.run(30.0)
    assert (len(done), len(errors)) == (1, 1)


def test_what_is_stuck_on_an_old_connection_arrives_in_order_after_what_is_said_on_a_new_one() -> None:
    bench, old_heard, new_heard = Bench(), list[object](), list[object]()
    old = bench.connect(old_heard)
    bench.network.half_open(bench.left.machine, stuck_s=2.0, late_s=5.0, then=lambda: None)
    for item in (1, 2):
        bench.network.send(old, item)
    bench.run(4.0)
    assert (old.is_closed, old.peer.is_closed, old_heard) == (True, False, [])
    bench.network.send(bench.connect(new_heard), 3)
    bench.run(6.0)
    assert (old_heard, new_heard) == ([], [3])
    bench.run(30.0)
    assert (old_heard, new_heard, old.peer.is_closed) == ([1, 2], [3], True)
    assert bench.broken == []


def test_the_first_word_on_a_connection_may_come_after_that_on_the_next_one() -> None:
    bench, old_heard, new_heard = Bench(), list[object](), list[object]()
    bench.network.half_open_next(bench.left.machine, stuck_s=2.0, late_s=5.0)
    bench.network.send(bench.connect(old_heard), 1)
    bench.run(4.0)
    bench.network.send(bench.connect(new_heard), 2)
    bench.run(6.0)
    assert (old_heard, new_heard) == ([], [2])
    bench.run(30.0)
    assert (old_heard, new_heard) == ([1], [2])


def test_nothing_is_stuck_any_more_when_everything_is_healed() -> None:
    bench, heard = Bench(), list[object]()
    end = bench.connect(heard)
    bench.network.half_open(bench.left.machine, stuck_s=5.0, late_s=5.0, then=lambda: None)
    bench.network.send(end, 1)
    bench.run(2.0)
    bench.network.heal()
    bench.network.send(end, 2)
    bench.run(30.0)
    assert (heard, end.is_closed) == ([1, 2], False)


def test_a_call_may_arrive_twice_and_is_answered_once() -> None:
    bench, done, answers = Bench(), list[float](), list[int]()

    async def work() -> int:
        done.append(bench.heap.now_s)
        return len(done)

    async def ask() -> None:
        for _ in range(20):
            answers.append(await bench.network.call(bench.left, bench.right.machine, work))

    bench.network.is_repeating = True
    bench.left.call_soon(lambda: bench.left.create_task(ask()))
    bench.run(30.0)
    assert len(answers) == 20
    assert 20 < len(done) < 40
    assert answers != list(range(1, 21)), "copies come between other calls"
    bench.network.heal()
    bench.left.call_soon(lambda: bench.left.create_task(ask()))
    before = len(done)
    bench.run(60.0)
    assert len(done) == before + 20


@pytest.mark.parametrize(
    ("error", "is_a_bug"),
    [
        (UnavailableError("the host does not answer"), False),
        (StorageError("the disk is full"), False),
        (InvariantError("a slot has two grants"), True),
        (CorruptDataError("these bytes are no manifest"), True),
        (ValueError("a bug"), True),
    ],
)
def test_a_task_that_ends_with_more_than_the_trouble_of_a_network_or_a_disk_is_a_bug(error: Exception, is_a_bug: bool) -> None:
    bench = Bench()

    async def fail() -> None:
        raise error

    bench.left.call_soon(lambda: bench.left.create_task(fail(), name="something"))
    bench.run(1.0)
    assert bench.broken == ([f"left: something ended with {error!r}"] if is_a_bug else [])


def test_a_frozen_process_does_nothing_until_it_wakes_and_a_dead_one_nothing_more() -> None:
    bench, ticks = Bench(), list[float]()

    async def tick() -> None:
        while True:
            await asyncio.sleep(1.0)
            await asyncio.to_thread(ticks.append, bench.heap.now_s)

    bench.left.call_soon(lambda: bench.left.create_task(tick()))
    bench.run(2.5)
    bench.left.freeze()
    bench.run(9.5)
    assert len(ticks) == 2
    bench.left.thaw()
    bench.run(12.0)
    assert len(ticks) >= 4
    bench.left.die()
    count = len(ticks)
    bench.run(20.0)
    assert len(ticks) == count
    assert bench.broken == []


def _journal(disk: JournalDisk) -> SimJournal:
    return SimJournal(disk, {}, 10_000)


def _entries(count: int) -> list[Entry]:
    return [Entry(float(number), RunOpRequested(RequestId(f"q{number}"), RunId("r1"), RunOp.STOP)) for number in range(count)]


@pytest.mark.parametrize(
    ("trap", "kept"), [(FlushTrap.BEFORE, 2), (FlushTrap.TORN, 2), (FlushTrap.FULL, 2), (FlushTrap.AFTER, 5), (FlushTrap.UNSURE, 5)]
)
def test_a_flush_is_on_the_disk_as_a_whole_or_not_at_all(trap: FlushTrap, kept: int) -> None:
    bench = Bench()
    disk = JournalDisk(bench.left.machine)
    journal = _journal(disk)
    journal.append(_entries(2))
    disk.trap = trap
    with pytest.raises(StorageError):
        journal.append(_entries(3))
    assert bench.left.is_alive == (trap in {FlushTrap.FULL, FlushTrap.UNSURE})
    reopened = _journal(disk)
    assert (reopened.last_seq, len(list(reopened.read()))) == (kept, kept)
    assert reopened.append(_entries(1)) == kept + 1


def _calm(clients: int, happenings: tuple[Happening, ...]) -> World:
    shapes = tuple(ClientShape(ClientName("abcd"[index]), 1, 0.5) for index in range(clients))
    return World(replace(draw(1), clients=shapes, happenings=happenings, rough_s=60.0, latency_s=0.01))


def test_without_trouble_everything_is_trained_without_a_detour() -> None:
    world = _calm(2, tuple(Happening(1.0 + number, Kind.SUBMIT, f"calm/{number}") for number in range(3)))
    world.play()
    assert world.violation is None
    assert world.plan.runs
    assert {run.state for run in world.plan.runs.values()} == {RunState.COMPLETED}
    assert world.plan.counters.get("failed_chunks", 0) == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_client_that_is_asked_to_leave_leaves_and_others_go_on(seed: int) -> None:
    """Also while there is more work than slots, so that whatever it gives back is granted again at once."""
    submits = tuple(Happening(1.0 + number, Kind.SUBMIT, f"leave/{seed}/{number}") for number in range(3))
    world = _calm(1, (*submits, Happening(6.0 + seed, Kind.LEAVE, "leave")))
    left: list[bool] = []
    world.heap.at(
        12.0 + seed,
        lambda: left.append(world.plan.clients[ClientName("a")].state is ClientState.LOST or world.plan.counters["lost_clients"] > 0),
    )
    world.play()
    assert world.violation is None
    assert left == [True]
    assert world.plan.counters["returned_grants"] < 10


def test_a_partition_is_from_everybody_from_the_host_or_from_one_other_client() -> None:
    drawn: set[frozenset[tuple[str, str]]] = set()
    for salt in range(60):
        world = _calm(3, ())
        world.faults.act(Happening(1.0, Kind.PARTITION_IN, f"partition/{salt}"))
        pairs = product(world.machines, repeat=2)
        drawn.add(frozenset((one.name, other.name) for one, other in pairs if world.network.is_blocked(one, other)))
    assert frozenset({("host", "a"), ("b", "a"), ("c", "a")}) in drawn
    assert frozenset({("host", "a")}) in drawn
    assert frozenset({("b", "a")}) in drawn, "both reach the host, and not each other"


def test_the_command_plays_a_seed() -> None:
    told = CliRunner().invoke(app, ["simulate", "--seed", "3", "--count", "2"])
    assert told.exit_code == 0
    assert "seed 3:" in told.output
    assert "seed 4:" in told.output
