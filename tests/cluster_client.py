"""A client of ``cluster_world``: the real agent over trainer processes that train nothing but remember who trained each step."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gswarm.client import agent_events as ev
from gswarm.client.agent import AgentState
from gswarm.domain.ids import HOST_HOLDER, ClientName, Digest, RunId
from gswarm.domain.messages import (
    Ack,
    ClientMessage,
    DropOrder,
    Goodbye,
    GrantOrder,
    HostMessage,
    JobOrder,
    Registered,
    RevokeOrder,
    StopOrder,
    SweepOrder,
)
from gswarm.domain.plan import Checkpoint, Failure, JobKind, RunSize
from gswarm.host.sessions import Session
from gswarm.training.protocol import AbortRange, DropRun, RangeDropped, RangeFailed, RangeTrained, Ready, StopRange
from scheduler_kit import BASE, DATA, SUSPECT

if TYPE_CHECKING:
    from cluster_world import World

SLOTS = {"a": 2, "b": 1, "c": 1}


@dataclass(frozen=True)
class Weights:
    """What a run's weights descend from: where they began, and which trainer process trained each step."""

    root: str
    first: int
    by: tuple[int, ...] = ()

    @property
    def step(self) -> int:
        return self.first + len(self.by)

    def descends_from(self, other: Weights) -> bool:
        return (self.root, self.first, self.by[: len(other.by)]) == (other.root, other.first, other.by)

    def manifest(self, run: RunId) -> Digest:
        return Digest(blake2b(f"{run} {self}".encode(), digest_size=32).hexdigest())


class Trainer:
    """A trainer process, and the truth about what it holds."""

    def __init__(self, epoch: int, token: int) -> None:
        self.epoch = epoch
        self.token = token
        self.is_ready = False
        self.queue: list[tuple[GrantOrder, ev.InputDirs]] = []
        self.stopped: set[tuple[RunId, int]] = set()
        self.drops: list[RunId] = []
        self.hot: dict[RunId, Weights] = {}

    def command(self, command: StopRange | AbortRange | DropRun) -> None:
        match command:
            case StopRange(run, generation):
                self.stopped.add((run, generation))
            case AbortRange(run, generation):
                self.queue = [item for item in self.queue if (item[0].run, item[0].generation) != (run, generation)]
                self.drops.append(run)
            case DropRun(run):
                self.queue = [item for item in self.queue if item[0].run != run]
                self.drops.append(run)


@dataclass
class Link:
    """A connection: its host's end and its client's end may notice the break at different times."""

    session: Session | None = None
    to_host: deque[ClientMessage] = field(default_factory=deque)
    to_client: deque[HostMessage] = field(default_factory=deque)
    is_cut: bool = False


class Client:
    """One client machine: its pool outlives its processes."""

    def __init__(self, world: World, name: ClientName) -> None:
        self.world = world
        self.name = name
        self.incarnation = 0
        self.start()

    def start(self) -> None:
        self.incarnation += 1
        self.agent = AgentState(SLOTS[self.name])
        self.link: Link | None = None
        self.trainers: dict[int, Trainer] = {}
        self.fetches: dict[tuple[RunId, int], ev.FetchInputs] = {}
        self.absent: dict[tuple[RunId, int], int] = {}
        self.stores: dict[tuple[RunId, int], ev.StoreCheckpoint | ev.PushCheckpoint] = {}
        self.snapshots: dict[str, Weights] = {}
        self.pins: dict[tuple[RunId, int], set[Digest]] = {}
        self.jobs: dict[str, JobOrder] = {}
        self.has_left = False

    @property
    def pool(self) -> set[Digest]:
        return self.world.held_by[self.name]

    def feed(self, event: ev.AgentEvent) -> None:
        for effect in self.agent.step(event):
            self.execute(effect)

    def execute(self, effect: ev.AgentEffect) -> None:
        match effect:
            case ev.FetchInputs(run, generation):
                self.fetches[(run, generation)] = effect
                if effect.checkpoint is not None:
                    self.pins.setdefault((run, generation), set()).add(effect.checkpoint.manifest)
            case ev.StartTrainer(slot, epoch):
                assert slot not in self.trainers, "two trainer processes on one slot"
                self.trainers[slot] = Trainer(epoch, self.world.token())
            case ev.KillTrainer(slot, _):
                del self.trainers[slot]
            case ev.TrainGrant(slot, _, order, dirs):
                self.trainers[slot].queue.append((order, dirs))
            case ev.SendToTrainer(slot, _, command):
                if slot in self.trainers:
                    self.trainers[slot].command(command)
            case ev.StoreCheckpoint(run, generation) | ev.PushCheckpoint(run, generation):
                self.stores[(run, generation)] = effect
            case ev.DiscardSnapshot(place):
                self.snapshots.pop(place, None)
            case ev.Release(run, generation):
                for owned in (self.fetches, self.stores, self.pins, self.absent):
                    owned.pop((run, generation), None)  # type: ignore[attr-defined]
                self.snapshots.pop(f"{run}-{generation}", None)
            case ev.SendReport(message):
                self.send(message)
            case ev.RunJob(order):
                self.jobs[order.job] = order
            case ev.CancelJob(job):
                del self.jobs[job]
            case ev.Leave():
                self.has_left = True
                self.send(Goodbye("it was asked to"))

    def send(self, message: ClientMessage) -> None:
        if self.link is not None:
            self.link.to_host.append(message)

    def hear(self, message: HostMessage) -> None:
        match message:
            case Registered():
                self.feed(ev.Connected())
            case GrantOrder():
                self.feed(ev.GrantReceived(message))
            case StopOrder(run, generation):
                self.feed(ev.StopReceived(run, generation))
            case RevokeOrder(run, generation):
                self.feed(ev.RevokeReceived(run, generation))
            case DropOrder(run):
                self.feed(ev.DropReceived(run))
            case JobOrder():
                self.feed(ev.JobReceived(message))
            case Ack():
                self.feed(ev.Acked(message))
            case SweepOrder(roots):
                pinned = {digest for digests in self.pins.values() for digest in digests}
                self.pool.intersection_update(pinned.union(roots))

    # ---- work ----

    def fetched(self) -> None:
        if not self.fetches:
            return
        key = self.world.random.choice(sorted(self.fetches))
        checkpoint = self.fetches[key].checkpoint
        if checkpoint is not None and not self.world.fetch(self.name, checkpoint):
            self.absent[key] = self.absent.get(key, 0) + 1
            if self.absent[key] >= 5:
                del self.fetches[key], self.absent[key]
                self.feed(ev.InputsFailed(*key, Failure("not_found", "nobody has it", machine_suspect=True)))
            return
        del self.fetches[key]
        self.feed(ev.InputsReady(*key, ev.InputDirs("/b", "/d", None if checkpoint is None else checkpoint.manifest)))

    def stored(self) -> None:
        if not self.stores:
            return
        key = self.world.random.choice(sorted(self.stores))
        work = self.stores.pop(key)
        if isinstance(work, ev.PushCheckpoint):
            assert work.checkpoint.manifest in self.pool, "a pinned checkpoint is gone"
            self.world.held_by[HOST_HOLDER].add(work.checkpoint.manifest)
            self.feed(ev.CheckpointStored(*key, work.checkpoint))
            return
        weights = self.snapshots.pop(work.snapshot.snapshot_dir)
        if self.world.chance(40):
            self.feed(ev.CheckpointStoreFailed(*key, Failure("storage", "disk full", machine_suspect=True)))
            return
        manifest = weights.manifest(key[0])
        self.world.contents[manifest] = weights
        self.pool.add(manifest)
        self.pins.setdefault(key, set()).add(manifest)
        if work.replicate:
            self.world.held_by[HOST_HOLDER].add(manifest)
        self.feed(ev.CheckpointStored(*key, Checkpoint(manifest, weights.step, manifest, 10, (("eval_loss", weights.step % 4),))))

    def train(self) -> None:
        if not self.trainers:
            return
        slot, trainer = self.world.random.choice(sorted(self.trainers.items()))
        if not trainer.is_ready:
            trainer.is_ready = True
            self.say(slot, trainer, Ready(1, "cpu"))
            return
        for run in trainer.drops:
            trainer.hot.pop(run, None)
        trainer.drops.clear()
        if trainer.queue:
            self.train_range(slot, trainer, *trainer.queue.pop(0))

    def train_range(self, slot: int, trainer: Trainer, order: GrantOrder, dirs: ev.InputDirs) -> None:
        key = (order.run, order.generation)
        weights = trainer.hot.pop(order.run, None)
        if key in trainer.stopped and self.world.random.randrange(2):
            if weights is not None:
                trainer.hot[order.run] = weights
            self.say(slot, trainer, RangeDropped(*key))
            return
        if weights is None or weights.step != order.from_step:
            begin = self.begin(order, dirs)
            if begin is None:
                self.say(slot, trainer, RangeFailed(*key, Failure("conflict", "not hot")))
                return
            weights = begin
        assert weights.step == order.from_step, f"{key} begins at {weights.step} instead of {order.from_step}"
        if self.world.chance(40):
            fatal = self.world.random.randrange(3) == 0
            self.say(slot, trainer, RangeFailed(*key, Failure("nan_loss", "NaN", machine_suspect=not fatal)))
            return
        count = 1 if key in trainer.stopped else order.to_step - order.from_step
        weights = replace(weights, by=weights.by + (trainer.token,) * count)
        trainer.hot[order.run] = weights
        place = f"{order.run}-{order.generation}"
        self.snapshots[place] = weights
        self.say(slot, trainer, RangeTrained(*key, weights.step, place, Digest("e" * 64), (), 0.1, 0.0, 0.0))

    def begin(self, order: GrantOrder, dirs: ev.InputDirs) -> Weights | None:
        if dirs.checkpoint_dir is None:
            return Weights("base", order.first_step) if order.from_step == 0 else None
        if order.warm_start and order.from_step == order.first_step:
            return Weights(dirs.checkpoint_dir, order.first_step)
        return self.world.contents[Digest(dirs.checkpoint_dir)]

    def say(self, slot: int, trainer: Trainer, said: Any) -> None:
        self.feed(ev.TrainerSaid(slot, trainer.epoch, said))

    def job(self) -> None:
        if not self.jobs:
            return
        order = self.jobs.pop(self.world.random.choice(sorted(self.jobs)))
        sizes: tuple[RunSize, ...] = ()
        if order.kind is JobKind.PREPARE:
            specs = self.world.planned.get(order.job, ())
            sizes = tuple(RunSize(5, spec.max_steps or 5, 5, 0, BASE, DATA) for spec in specs)
        self.feed(ev.JobDone(order.job, "{}", sizes=sizes))

    def trainer_dies(self) -> None:
        if self.trainers:
            slot, trainer = self.trainers.popitem()
            self.feed(ev.TrainerDied(slot, trainer.epoch, SUSPECT))

    def evict(self) -> None:
        for trainer in self.trainers.values():
            trainer.hot.clear()
