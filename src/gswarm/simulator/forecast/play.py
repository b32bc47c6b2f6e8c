"""Plays an experiment on a described cluster: the real ``ClusterState`` decides, clients that only cost time carry it out.

One heap of events on a virtual clock, nothing random: the same description always gives the same schedule.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gswarm.domain.errors import InvariantError
from gswarm.domain.ids import ClientName, Digest, JobId, RequestId, RunId, SlotId
from gswarm.domain.plan import Checkpoint, Grant, RunSize, RunState, SlotSpec
from gswarm.domain.spec import Durability
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect, SendGrant, SendJob, SendStop
from gswarm.scheduler.events import (
    ChunkCommitted,
    ChunkTrained,
    ClientRegistered,
    Event,
    ExperimentSubmitted,
    GrantReturned,
    JobFinished,
)
from gswarm.simulator.forecast.described import ClusterDescription, Machines, Workload
from gswarm.simulator.forecast.schedule import Stretch

DIGEST = Digest("0" * 64)
BITS_PER_MB = 8e6
BITS_PER_GBIT = 1e9
TELL_EVERY = 10_000

Key = tuple[RunId, int]


@dataclass(slots=True)
class Training:
    """What a slot trains."""

    grant: Grant
    began_s: float
    step_time_s: float
    eval_s: float
    to_step: int

    @property
    def trained_s(self) -> float:
        return self.began_s + (self.to_step - self.grant.from_step) * self.step_time_s

    @property
    def ends_s(self) -> float:
        return self.trained_s + self.eval_s


@dataclass(frozen=True, slots=True)
class SlotDone:
    """A slot has done what it trained, unless that was cut short meanwhile."""

    slot: SlotId
    training: Training
    to_step: int


@dataclass(slots=True)
class PlayedSlot:
    client: ClientName
    machines: Machines
    queue: deque[tuple[float, Grant]] = field(default_factory=deque)
    """Grants that wait, with the time at which what they need is there."""
    training: Training | None = None
    last_run: RunId | None = None
    hot: set[RunId] = field(default_factory=set)
    """Runs whose trainer is here and that were nowhere else since."""
    switch_s: float = 0.0
    """Seconds of building and switching in all."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it."""

    trained: list[Stretch]
    total_steps: dict[RunId, int]
    switches: int
    """Changes of run on a slot, the first run of a slot not counted."""
    switch_s: float
    """Slot-seconds that switching and building took."""
    makespan_s: float
    """Until the last checkpoint was committed."""
    max_skew: int
    names: dict[RunId, str]
    slots: list[SlotId]


class Player:
    """Args:
    tell: called with the number of chunks trained, now and then.
    """

    def __init__(self, cluster: ClusterDescription, workload: Workload, tell: Callable[[int], None] = lambda chunks: None) -> None:
        self._cluster = cluster
        self._costs = cluster.costs
        self._checkpoint_bits = cluster.costs.checkpoint_mb * BITS_PER_MB
        self._workload = workload
        self._is_local = workload.experiment.checkpoint.durability is Durability.LOCAL
        self._tell = tell
        self._state = ClusterState()
        self._slots: dict[SlotId, PlayedSlot] = {}
        self._held: dict[Key, SlotId] = {}
        """Where grants wait or train."""
        self._where: dict[RunId, SlotId] = {}
        """The slot that trained a run last."""
        self._agenda: list[tuple[float, int, Event | SlotDone]] = []
        self._count = 0
        self._now_s = 0.0
        self._link_free_s = 0.0
        self._step_times_s: dict[RunId, float] = {}
        self._trained: list[Stretch] = []
        self._switches = 0

    def play(self) -> Played:
        """Raises:
        InvariantError: the plan came to a halt before all runs were done.
        """
        self._set_up()
        while self._agenda:
            self._now_s, _, event = heapq.heappop(self._agenda)
            if isinstance(event, SlotDone):
                self._done(event)
            else:
                self._carry_out(self._state.step(event, self._now_s))
        runs = self._state.runs.values()
        open_runs = [run.id for run in runs if run.state is not RunState.COMPLETED]
        if open_runs:
            raise InvariantError(f"the forecast halted with {len(open_runs)} runs to train, first {open_runs[0]}")
        return Played(
            trained=self._trained,
            total_steps={run.id: run.total_steps for run in runs},
            switches=self._switches,
            switch_s=sum(slot.switch_s for slot in self._slots.values()),
            makespan_s=self._now_s,
            max_skew=next(iter(self._state.experiments.values())).max_skew,
            names={run.id: run.name for run in runs},
            slots=list(self._slots),
        )

    def _set_up(self) -> None:
        groups = [group for group in self._cluster.machines for _ in range(group.count)]
        for number, group in enumerate(groups):
            client = ClientName(f"c{number:0{len(str(len(groups) - 1))}}")
            slots = tuple(SlotSpec(SlotId(f"{client}/{index}"), "cuda:0") for index in range(group.slots))
            self._slots.update({slot.id: PlayedSlot(client, group) for slot in slots})
            self._state.step(ClientRegistered(client, "i", "1", "", slots), 0.0)
        workload = self._workload
        request = ExperimentSubmitted(RequestId("q"), workload.experiment, workload.runs, ((),) * len(workload.runs))
        effects = self._state.step(request, 0.0)
        job = next(effect for effect in effects if isinstance(effect, SendJob))
        sizes = tuple(
            RunSize(workload.steps_per_epoch(spec), workload.total_steps(spec), workload.rows, 0, DIGEST, DIGEST) for spec in workload.runs
        )
        effects = self._state.step(JobFinished(job.client, JobId(job.job), "{}", None, sizes), 0.0)
        self._step_times_s = dict(zip(self._state.runs, workload.step_times_s, strict=True))
        self._carry_out(effects)

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendGrant(_, grant):
                    self._receive(grant)
                case SendStop(client, run, generation):
                    self._give_back(client, (run, generation))
                case _:
                    pass

    def _receive(self, grant: Grant) -> None:
        """The client begins to fetch what the grant needs as soon as it has it."""
        slot_id = grant.slots[0]
        slot = self._slots[slot_id]
        last = self._where.get(grant.run)
        fetch_s = 0.0
        if last is not None and self._slots[last].client != slot.client:
            fetch_s = self._checkpoint_bits / (slot.machines.link_gbit_s * BITS_PER_GBIT)
        slot.queue.append((self._now_s + self._costs.message_s + fetch_s, grant))
        self._held[grant.run, grant.generation] = slot_id
        self._begin(slot_id, slot)

    def _give_back(self, client: ClientName, key: Key) -> None:
        """What waits goes back; what trains ends at its next step. What is done has been reported."""
        slot_id = self._held.get(key)
        if slot_id is None:
            return
        slot, training = self._slots[slot_id], self._slots[slot_id].training
        if training is not None and (training.grant.run, training.grant.generation) == key:
            steps = max(1, math.ceil((self._now_s - training.began_s) / training.step_time_s))
            training.to_step = min(training.to_step, training.grant.from_step + steps)
            self._at(max(training.ends_s, self._now_s), SlotDone(slot_id, training, training.to_step))
            return
        del self._held[key]
        slot.queue = deque(item for item in slot.queue if (item[1].run, item[1].generation) != key)
        self._at(self._now_s + 2 * self._costs.message_s, GrantReturned(client, *key))

    def _begin(self, slot_id: SlotId, slot: PlayedSlot) -> None:
        if slot.training is not None or not slot.queue:
            return
        ready_at_s, grant = slot.queue.popleft()
        spec = self._state.runs[grant.run].spec
        began_s = max(self._now_s, ready_at_s) + self._switch(slot_id, slot, grant.run)
        step_time_s = self._step_times_s[grant.run] / slot.machines.speed
        is_evaluated = spec.val_size > 0 or spec.eval_dataset is not None
        eval_s = self._costs.eval_time_s / slot.machines.speed if is_evaluated else 0.0
        slot.training = training = Training(grant, began_s, step_time_s, eval_s, grant.to_step)
        self._at(training.ends_s, SlotDone(slot_id, training, training.to_step))

    def _done(self, done: SlotDone) -> None:
        """The slot goes on with what it holds already; the host hears a little later, and the checkpoint follows."""
        slot, training = self._slots[done.slot], done.training
        if slot.training is not training or training.to_step != done.to_step:
            return
        grant = training.grant
        key = (grant.run, grant.generation)
        del self._held[key]
        slot.training = None
        self._trained.append(Stretch(done.slot, grant.run, grant.from_step, done.to_step, training.began_s, training.trained_s))
        if len(self._trained) % TELL_EVERY == 0:
            self._tell(len(self._trained))
        self._at(self._now_s + self._costs.message_s, ChunkTrained(slot.client, *key, done.to_step, training.step_time_s))
        self._at(self._committed_at_s(slot), ChunkCommitted(slot.client, *key, Checkpoint(DIGEST, done.to_step, DIGEST, 0)))
        self._begin(done.slot, slot)

    def _switch(self, slot_id: SlotId, slot: PlayedSlot, run: RunId) -> float:
        """Seconds until the run can train here."""
        if slot.last_run == run and run in slot.hot:
            return 0.0
        switch_s = self._costs.hot_switch_s if run in slot.hot else self._costs.cold_start_s
        self._switches += slot.last_run is not None and slot.last_run != run
        last = self._where.get(run)
        if last is not None:
            self._slots[last].hot.discard(run)
        slot.hot.add(run)
        slot.last_run, self._where[run] = run, slot_id
        slot.switch_s += switch_s
        return switch_s

    def _committed_at_s(self, slot: PlayedSlot) -> float:
        """Checkpoints go one after another over the host's link, and none faster than its client's. Local ones stay where they are."""
        if self._is_local:
            return self._now_s + 2 * self._costs.message_s
        begins_s = max(self._now_s, self._link_free_s)
        self._link_free_s = begins_s + self._checkpoint_bits / (self._cluster.host_gbit_s * BITS_PER_GBIT)
        rate = min(slot.machines.link_gbit_s, self._cluster.host_gbit_s) * BITS_PER_GBIT
        return begins_s + self._checkpoint_bits / rate + 2 * self._costs.message_s

    def _at(self, at_s: float, event: Event | SlotDone) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (at_s, self._count, event))
