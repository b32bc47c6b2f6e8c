"""The agent against a random host, network and trainer processes.

``World`` executes the agent's effects naively and keeps the truth that the agent cannot see: what every trainer process really holds
in memory, and what the host really knows. A seed draws the order in which things happen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gswarm.client import agent_events as ev
from gswarm.client.agent import AgentState
from gswarm.client.agent_model import WITH_TRAINER_PHASES, precision_of
from gswarm.domain.ids import Digest, JobId, RunId
from gswarm.domain.messages import (
    Ack,
    ChunkCommittedReport,
    ChunkFailedReport,
    ChunkTrainedReport,
    GrantOrder,
    GrantReturnedReport,
    JobOrder,
    JobReport,
)
from gswarm.domain.plan import Checkpoint, Failure, JobKind
from gswarm.domain.spec import RunSpec
from gswarm.training.protocol import AbortRange, DropRun, RangeDropped, RangeFailed, RangeTrained, Ready, StopRange

CHUNK = 10
TOTAL = 60
FAILURE = Failure("trainer_died", "killed", machine_suspect=True)


def checkpoint_at(run: RunId, step: int) -> Checkpoint:
    return Checkpoint(Digest(f"{run}@{step}".ljust(64, "0")), step, Digest("w" * 64), 10)


@dataclass
class Process:
    """The truth about one trainer process: its queue and where each run in its memory is."""

    epoch: int
    ranges: list[tuple[GrantOrder, ev.InputDirs]] = field(default_factory=list)
    active: tuple[GrantOrder, ev.InputDirs] | None = None
    stopped: set[tuple[RunId, int]] = field(default_factory=set)
    drops: list[RunId] = field(default_factory=list)
    evicted: set[RunId] = field(default_factory=set)
    hot: dict[RunId, int] = field(default_factory=dict)
    precision: str | None = None
    is_ready: bool = False

    def expected(self, run: RunId) -> int | None:
        """Where the run will be when everything sent so far is done."""
        step = None if run in self.drops else self.hot.get(run)
        for order, _ in [*([self.active] if self.active else []), *self.ranges]:
            if order.run == run:
                step = order.to_step
        return step

    def remove(self, run: RunId, generation: int) -> None:
        self.ranges = [item for item in self.ranges if (item[0].run, item[0].generation) != (run, generation)]
        if self.active is not None and (self.active[0].run, self.active[0].generation) == (run, generation):
            self.active = None


@dataclass
class HostRun:
    id: RunId
    slot: int
    spec: RunSpec
    position: int = 0
    checkpoint: Checkpoint | None = None
    generation: int = 0
    open: list[GrantOrder] = field(default_factory=list)
    is_stopping: bool = False


class World:
    def __init__(self, seed: int, slots: int, runs: int) -> None:
        self.random = Random(seed)
        self.is_rough = True
        self.agent = AgentState(slots)
        self.processes: dict[int, Process | None] = dict.fromkeys(range(slots))
        specs = [RunSpec("m", "d", bf16=index == 2) for index in range(runs)]
        self.runs = {RunId(f"r{i}"): HostRun(RunId(f"r{i}"), i % slots, spec) for i, spec in enumerate(specs)}
        self.connected = False
        self.to_host: list[Any] = []
        self.fetches: dict[tuple[RunId, int], ev.FetchInputs] = {}
        self.stores: dict[tuple[RunId, int], ev.StoreCheckpoint | ev.PushCheckpoint] = {}
        self.snapshots: set[str] = set()
        self.running_jobs: dict[JobId, None] = {}
        self.accepted: list[tuple[RunId, int]] = []
        self.outcomes: Counter[tuple[RunId, int]] = Counter()
        self.revoked: set[tuple[RunId, int]] = set()
        self.seen_seqs: dict[int, Any] = {}
        self.has_left = False
        self.jobs_sent = 0

    def chance(self, of: int) -> bool:
        """One time in ``of``, while things go wrong."""
        return self.is_rough and self.random.randrange(of) == 0

    def feed(self, event: ev.AgentEvent) -> None:
        for effect in self.agent.step(event):
            self.execute(effect)

    def execute(self, effect: ev.AgentEffect) -> None:
        match effect:
            case ev.FetchInputs(run, generation):
                self.fetches[(run, generation)] = effect
            case ev.StartTrainer(slot, epoch):
                assert self.processes[slot] is None
                self.processes[slot] = Process(epoch)
            case ev.KillTrainer(slot, epoch):
                process = self.processes[slot]
                assert process is not None
                assert process.epoch == epoch
                left = [(order.run, order.generation) for order, _ in [*process.ranges, *([process.active] if process.active else [])]]
                assert process.stopped.issuperset(left), "a process is killed while it trains"
                self.processes[slot] = None
            case ev.TrainGrant(slot, epoch, order, dirs):
                self.train(slot, epoch, order, dirs)
            case ev.SendToTrainer(slot, epoch, command):
                self.command(slot, epoch, command)
            case ev.StoreCheckpoint(run, generation, snapshot):
                assert snapshot.snapshot_dir in self.snapshots
                assert not any(key[0] == run for key in self.stores), "two checkpoints of a run at once"
                self.stores[(run, generation)] = effect
            case ev.PushCheckpoint(run, generation):
                self.stores[(run, generation)] = effect
            case ev.DiscardSnapshot(snapshot_dir):
                self.snapshots.discard(snapshot_dir)
            case ev.Release(run, generation):
                self.fetches.pop((run, generation), None)
                self.stores.pop((run, generation), None)
                self.snapshots.discard(f"{run}-{generation}")
            case ev.SendReport(message):
                assert self.connected
                self.to_host.append(message)
            case ev.RunJob(order):
                self.running_jobs[order.job] = None
            case ev.CancelJob(job):
                self.running_jobs.pop(job)
            case ev.Leave():
                self.has_left = True

    def train(self, slot: int, epoch: int, order: GrantOrder, dirs: ev.InputDirs) -> None:
        process = self.processes[slot]
        assert process is not None
        assert process.is_ready
        assert process.epoch == epoch
        precision = precision_of(order.spec)
        assert process.precision in (None, precision), "one process trains in two precisions"
        process.precision = precision
        if dirs.checkpoint_dir is not None:
            assert dirs.checkpoint_dir == f"{order.run}@{order.from_step}"
        elif order.from_step > 0:
            assert order.run in process.evicted or process.expected(order.run) == order.from_step, "sent without a state to begin from"
        process.ranges.append((order, dirs))

    def command(self, slot: int, epoch: int, command: StopRange | AbortRange | DropRun) -> None:
        process = self.processes[slot]
        if process is None or process.epoch != epoch:
            return
        match command:
            case StopRange(run, generation):
                process.stopped.add((run, generation))
            case AbortRange(run, generation):
                process.remove(run, generation)
                process.drops.append(run)
            case DropRun(run):
                grants = self.agent.book.grants
                over = [(order.run, order.generation) for order, _ in process.ranges if order.run == run]
                busy = [key for key in over if key in grants and grants[key].phase in WITH_TRAINER_PHASES]
                assert not busy, "memory of a run dropped under its range"
                for key in over:
                    process.remove(*key)
                process.drops.append(run)

    # ---- what can happen -----------------------------------------------------------------------------------------

    def grant(self) -> None:
        run = self.random.choice(list(self.runs.values()))
        run.is_stopping = run.is_stopping and bool(run.open)
        if len(run.open) >= 2 or not self.connected or run.is_stopping:
            return
        start = run.open[-1].to_step if run.open else run.position
        if start >= TOTAL:
            return
        run.generation += 1
        order = GrantOrder(
            run.id, run.generation, run.slot, start, start + CHUNK, TOTAL, 20, run.spec, Digest("b" * 64), Digest("d" * 64),
            run.checkpoint, False, "replicated",
        )  # fmt: skip
        run.open.append(order)
        self.accepted.append((run.id, run.generation))
        self.feed(ev.GrantReceived(order))
        if self.chance(2):
            self.feed(ev.GrantReceived(order))

    def stop(self) -> None:
        for run in self.runs.values():
            if run.open and self.connected:
                run.is_stopping = True
                for order in run.open:
                    self.feed(ev.StopReceived(run.id, order.generation))
                return

    def revoke(self) -> None:
        run = self.random.choice(list(self.runs.values()))
        if self.connected:
            for order in run.open:
                self.revoked.add((run.id, order.generation))
                self.feed(ev.RevokeReceived(run.id, order.generation))
            run.open.clear()

    def drop(self) -> None:
        self.feed(ev.DropReceived(self.random.choice(list(self.runs))))

    def lose_leases(self) -> None:
        """The host gives the client up without a word to it: whatever it reports later is fenced."""
        for run in self.runs.values():
            self.revoked.update((run.id, order.generation) for order in run.open)
            run.open.clear()

    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.to_host.clear()
            held = {(info.run, info.generation) for info in self.agent.held()}
            for run in self.runs.values():
                gone = [order for order in run.open if (run.id, order.generation) not in held]
                assert not gone, "the agent forgot a grant that the host still counts on"
            self.feed(ev.Connected())

    def disconnect(self) -> None:
        if self.connected:
            self.connected = False
            self.to_host.clear()
            self.feed(ev.Disconnected())

    def deliver(self) -> None:
        """The host takes the oldest report and answers it; now and then the answer is lost with the connection."""
        if not self.to_host:
            return
        message = self.to_host.pop(0)
        known = self.seen_seqs.setdefault(message.seq, message)
        assert known == message, "one seq, two messages"
        ack = self.host_takes(message)
        if self.chance(10):
            self.disconnect()
        else:
            self.feed(ev.Acked(ack))

    def host_takes(self, message: Any) -> Ack:
        if isinstance(message, JobReport):
            return Ack(message.seq, True)
        run = self.runs[message.run]
        order = next((order for order in run.open if order.generation == message.generation), None)
        key = (message.run, message.generation)
        if order is None:
            repeated = self.outcomes[key] > 0
            return Ack(message.seq, repeated, "" if repeated else "fenced")
        match message:
            case ChunkTrainedReport(reached_step=reached):
                assert order.from_step < reached <= order.to_step
                return Ack(message.seq, True)
            case ChunkCommittedReport(checkpoint=checkpoint):
                if self.chance(6):
                    return Ack(message.seq, False, ev.INCOMPLETE_CODE, "blob missing")
                assert run.open[0] is order, "commits out of order"
                assert order.from_step == run.position
                run.position, run.checkpoint = checkpoint.step, checkpoint
            case ChunkFailedReport() | GrantReturnedReport():
                # What was to begin where this grant ends has lost its start.
                self.revoked.update((run.id, later.generation) for later in run.open if later.generation > order.generation)
                run.open = [earlier for earlier in run.open if earlier.generation <= order.generation]
        self.outcomes[key] += 1
        run.open.remove(order)
        return Ack(message.seq, True)

    def fetched(self) -> None:
        if self.fetches:
            key = self.random.choice(sorted(self.fetches))
            fetch = self.fetches.pop(key)
            if self.chance(16):
                self.feed(ev.InputsFailed(*key, Failure("storage", "disk full")))
            else:
                place = None if fetch.checkpoint is None else f"{key[0]}@{fetch.checkpoint.step}"
                self.feed(ev.InputsReady(*key, ev.InputDirs("/b", "/d", place)))

    def stored(self) -> None:
        if self.stores:
            key = self.random.choice(sorted(self.stores))
            work = self.stores.pop(key)
            if isinstance(work, ev.PushCheckpoint):
                self.feed(ev.CheckpointStored(*key, work.checkpoint))
            elif self.chance(16):
                self.feed(ev.CheckpointStoreFailed(*key, Failure("storage", "disk full", machine_suspect=True)))
            else:
                self.feed(ev.CheckpointStored(*key, checkpoint_at(key[0], work.snapshot.reached_step)))

    def trainer(self) -> None:
        """Some trainer process does the next thing it has to do."""
        live = [(slot, process) for slot, process in self.processes.items() if process is not None]
        if not live:
            return
        slot, process = self.random.choice(live)
        if not process.is_ready:
            process.is_ready = True
            self.feed(ev.TrainerSaid(slot, process.epoch, Ready(1, "cpu")))
        elif process.active is None:
            self.begin(slot, process)
        else:
            self.answer(slot, process, process.active[0])

    def begin(self, slot: int, process: Process) -> None:
        for run in process.drops:
            process.hot.pop(run, None)
        process.drops.clear()
        if not process.ranges:
            return
        order, dirs = process.active = process.ranges.pop(0)
        key = (order.run, order.generation)
        if key in process.stopped:
            process.active = None
            self.feed(ev.TrainerSaid(slot, process.epoch, RangeDropped(*key)))
        elif process.hot.get(order.run) != order.from_step and order.from_step > 0 and dirs.checkpoint_dir is None:
            process.active = None
            process.hot.pop(order.run, None)
            self.feed(ev.TrainerSaid(slot, process.epoch, RangeFailed(*key, Failure("conflict", "not hot"))))

    def answer(self, slot: int, process: Process, order: GrantOrder) -> None:
        key = (order.run, order.generation)
        process.active = None
        process.evicted.discard(order.run)
        if self.chance(13):
            process.hot.pop(order.run, None)
            self.feed(ev.TrainerSaid(slot, process.epoch, RangeFailed(*key, Failure("nan_loss", "loss is NaN"))))
            return
        reached = order.from_step + 3 if key in process.stopped else order.to_step
        process.hot[order.run] = reached
        self.snapshots.add(f"{order.run}-{order.generation}")
        said = RangeTrained(*key, reached, f"{order.run}-{order.generation}", Digest("w" * 64), (), 0.1, 0.0)
        self.feed(ev.TrainerSaid(slot, process.epoch, said))

    def evict(self) -> None:
        """A trainer process lets go of a run on its own, for want of memory."""
        for process in self.processes.values():
            if process is not None and process.hot:
                run = next(iter(process.hot))
                del process.hot[run]
                process.evicted.add(run)
                return

    def die(self) -> None:
        live = [(slot, process) for slot, process in self.processes.items() if process is not None]
        if live:
            slot, process = self.random.choice(live)
            self.processes[slot] = None
            self.feed(ev.TrainerDied(slot, process.epoch, FAILURE, is_accounted_for=self.chance(4)))

    def job(self) -> None:
        if self.connected and self.jobs_sent < 20:
            self.jobs_sent += 1
            self.feed(ev.JobReceived(JobOrder(JobId(f"j{self.jobs_sent}"), JobKind.EXPORT, "{}")))

    def job_done(self) -> None:
        if self.running_jobs:
            job = next(iter(self.running_jobs))
            del self.running_jobs[job]
            self.feed(ev.JobDone(job, "{}"))

    def settle(self) -> None:
        """No more faults: everything that is owed arrives until nothing is owed."""
        self.is_rough = False
        for _ in range(2000):
            self.connect()
            self.fetched()
            self.stored()
            self.trainer()
            self.job_done()
            self.deliver()
            busy = any(process and (process.ranges or process.active or not process.is_ready) for process in self.processes.values())
            if not (self.fetches or self.stores or busy or self.to_host or self.agent.held() or self.running_jobs):
                return
        raise AssertionError(f"no end: {self.agent.book.grants}")


CALM = ["grant", "fetched", "stored", "trainer", "trainer", "deliver", "connect", "job", "job_done"]
ROUGH = ["stop", "revoke", "drop", "lose_leases", "disconnect", "evict", "die"]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 2), st.integers(1, 4), st.integers(5, 120))
def test_every_accepted_grant_ends_in_exactly_one_way(seed: int, slots: int, runs: int, length: int) -> None:
    world = World(seed, slots, runs)
    world.connect()
    for action in world.random.choices(CALM * 2 + ROUGH, k=length):
        getattr(world, action)()
    world.settle()
    assert not world.agent.book.outbox
    assert not world.agent.jobs()
    assert not world.snapshots
    for key in world.accepted:
        assert world.outcomes[key] + (key in world.revoked) == 1, key


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 2), st.integers(0, 60))
def test_a_client_that_is_asked_to_leave_ends_everything_first(seed: int, slots: int, length: int) -> None:
    world = World(seed, slots, 3)
    world.connect()
    for action in world.random.choices(CALM, k=length):
        getattr(world, action)()
    world.connect()
    world.feed(ev.ShutdownRequested("test"))
    world.grant()
    world.settle()
    assert world.has_left
    # The good-bye ends what came too late to be accepted.
    world.lose_leases()
    for key in world.accepted:
        assert world.outcomes[key] + (key in world.revoked) == 1, key


def test_without_faults_every_step_is_trained_once_and_in_lookahead() -> None:
    world = World(1, 1, 2)
    world.is_rough = False
    world.connect()
    for _ in range(300):
        for action in ("grant", "grant", "fetched", "trainer", "stored", "deliver"):
            getattr(world, action)()
    assert [run.position for run in world.runs.values()] == [TOTAL, TOTAL]
    assert sum(isinstance(message, ChunkCommittedReport) for message in world.seen_seqs.values()) == 2 * TOTAL // CHUNK
