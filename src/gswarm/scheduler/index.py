"""What can be derived from the plan, kept so that a decision needs no search: O(log n) for every change and every question.

Nothing here is a fact of its own. ``Index(plan)`` builds all of it from the plan's fields; ``invariants`` compares the two.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from gswarm.domain.ids import HOST_HOLDER, ClientName, ExperimentId, RunId, SlotId
from gswarm.domain.plan import ClientState, Experiment, GrantPhase, Run, RunState, Slot
from gswarm.domain.steps import chunks_done
from gswarm.scheduler.heap import LazyHeap
from gswarm.scheduler.job_index import JobIndex
from gswarm.scheduler.lifecycle import LIVE

if TYPE_CHECKING:
    from gswarm.scheduler.state import Plan

OPEN_GRANTS_MAX = 3
"""Per run: one trained and not yet committed, one training, one ahead."""
QUEUE_MAX = 2
"""Grants that occupy a slot: one training, one ahead."""
ASSUMED_SAMPLE_TIME_S = 0.1
"""Per row, until a run's step time has been measured. Only ratios matter."""

OrderKey = tuple[int, float, int, ExperimentId]


class Wait(Enum):
    """How a run waits for a grant."""

    FRESH = "fresh"
    """For its first one, on any slot."""
    MOVABLE = "movable"
    """For another one, on any slot."""
    LOCAL = "local"
    """For another one on the slot that trained the last: its checkpoint is not committed yet."""


class Place(NamedTuple):
    """Where a waiting run stands. Equal places need no change of the index."""

    wait: Wait
    home: SlotId | None
    remaining_s: float
    chunks: int


def number_of(identifier: str) -> int:
    """``r17`` -> 17: the order of creation."""
    return int(identifier[1:])


def expected_step_s(run: Run) -> float:
    """Measured seconds per step, or an assumption from the rows that a step consumes."""
    return run.step_time_s if run.step_time_s is not None else ASSUMED_SAMPLE_TIME_S * run.spec.samples_per_step


@dataclass(slots=True)
class Pool:
    """The waiting runs of one experiment, in the orders that the policy asks for."""

    fresh: LazyHeap[RunId] = field(default_factory=LazyHeap)
    """Most work left first, as are ``homeless``, ``movable`` and ``hot``."""
    homeless: LazyHeap[RunId] = field(default_factory=LazyHeap)
    movable: LazyHeap[RunId] = field(default_factory=LazyHeap)
    """Also those of ``homeless``."""
    hot: dict[SlotId, LazyHeap[RunId]] = field(default_factory=dict)
    """By the slot that may still have them in memory; movable and local ones."""
    slowest: LazyHeap[RunId] = field(default_factory=LazyHeap)
    """Every waiting run, fewest chunks first."""

    @property
    def anywhere(self) -> int:
        """Runs that any slot may take."""
        return len(self.fresh) + len(self.movable)

    def add(self, run: RunId, place: Place) -> None:
        key = (-place.remaining_s, number_of(run))
        self.slowest.put(run, (place.chunks, number_of(run)))
        if place.wait is Wait.FRESH:
            self.fresh.put(run, key)
            return
        if place.wait is Wait.MOVABLE:
            self.movable.put(run, key)
        if place.home is None:
            self.homeless.put(run, key)
        else:
            if place.home not in self.hot:
                self.hot[place.home] = LazyHeap()
            self.hot[place.home].put(run, key)

    def remove(self, run: RunId, place: Place) -> None:
        for heap in (self.slowest, self.fresh, self.movable, self.homeless):
            heap.discard(run)
        if place.home is not None and place.home in self.hot:
            self.hot[place.home].discard(run)
            if not len(self.hot[place.home]):
                del self.hot[place.home]


def _keepers_of(run: Run) -> tuple[ClientName, ...]:
    """The clients of which one must be there for the waiting run to go on; none if the host has its checkpoint, or it needs none."""
    if run.state is not RunState.QUEUED or run.grants:
        return ()
    checkpoint = run.latest or run.start
    if checkpoint is None or HOST_HOLDER in checkpoint.holders:
        return ()
    return tuple(ClientName(name) for name in checkpoint.holders)


def out_of_reach(plan: Plan, run: Run) -> tuple[ClientName, ...]:
    """The clients that keep the waiting run's checkpoint, if none of them is connected."""
    keepers = _keepers_of(run)
    there = any(name in plan.clients and plan.clients[name].state is not ClientState.LOST for name in keepers)
    return () if there else keepers


def _heaps(pool: Pool) -> list[LazyHeap[RunId]]:
    return [pool.fresh, pool.homeless, pool.movable, pool.slowest, *(pool.hot[slot] for slot in sorted(pool.hot))]


class Index:
    """See the module. Whoever changes a run or a slot calls ``touch_run`` or ``touch_slot`` after it; of a client, for its slots."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.pools: dict[ExperimentId, Pool] = {}
        self.places: dict[RunId, Place] = {}
        self.order: list[OrderKey] = []
        """Experiments with a waiting run, whose turn it is first."""
        self._order_keys: dict[ExperimentId, OrderKey] = {}
        self._live: dict[ExperimentId, int] = {}
        self.anywhere = 0
        self.homes: dict[SlotId, dict[RunId, None]] = {}
        self.granted: dict[ClientName, dict[RunId, None]] = {}
        """Runs with open grants, by client."""
        self.ready: dict[SlotId, None] = {}
        """Slots of ready clients."""
        self.vacant: dict[SlotId, None] = {}
        """Slots of ready clients that train nothing."""
        self.single: dict[SlotId, None] = {}
        """Slots of ready clients with nothing ahead."""
        self.ahead: LazyHeap[SlotId] = LazyHeap()
        """Slots whose waiting grant could be called back, the least important first."""
        self.ahead_other: LazyHeap[SlotId] = LazyHeap()
        """Those of them whose waiting grant is of another run than the training one, most work left first."""
        self.keepers: dict[ClientName, dict[RunId, None]] = {}
        """Runs that wait and whose checkpoint the host does not have, by the clients that do."""
        self._kept_by: dict[RunId, tuple[ClientName, ...]] = {}
        self.recalled: dict[RunId, None] = {}
        """Runs whose newest grant was called back and has not come yet."""
        self.dirty: dict[SlotId, None] = {}
        """Slots about which this turn may have changed the answer."""
        self.run_names: dict[str, list[RunId]] = {}
        self.experiment_names: dict[str, list[ExperimentId]] = {}
        self.clones: dict[RunId, int] = {}
        """Clones ever made of a run."""
        self.jobs = JobIndex(plan.jobs)
        for experiment in plan.experiments.values():
            self.add_experiment(experiment)
        for run in plan.runs.values():
            self.add_run(run)
        for slot in plan.slots.values():
            self.touch_slot(slot)
        self.dirty.clear()

    def add_experiment(self, experiment: Experiment) -> None:
        self.experiment_names.setdefault(experiment.spec.name, []).append(experiment.id)
        self.pools[experiment.id] = Pool()
        self._live[experiment.id] = 0

    def add_run(self, run: Run) -> None:
        self.run_names.setdefault(run.name, []).append(run.id)
        if run.parent is not None:
            self.clones[run.parent] = self.clones.get(run.parent, 0) + 1
        if run.state in LIVE:
            self._live[run.experiment] += 1
        if run.home is not None:
            self.homes.setdefault(run.home, {})[run.id] = None
        for grant in run.grants:
            self.grant_opened(run, grant.client)
        self.touch_run(run)

    def count_live(self, run: Run, change: int) -> None:
        self._live[run.experiment] += change

    def live_runs(self, experiment: ExperimentId) -> int:
        """Runs that are neither ended nor stopped."""
        return self._live[experiment]

    def set_home(self, run: Run, home: SlotId | None) -> None:
        """Change ``run.home``. The caller touches the run afterwards."""
        if run.home is not None and run.home in self.homes:
            self.homes[run.home].pop(run.id, None)
            if not self.homes[run.home]:
                del self.homes[run.home]
        run.home = home
        if home is not None:
            self.homes.setdefault(home, {})[run.id] = None

    def at_home(self, slot: SlotId) -> list[RunId]:
        return sorted(self.homes.get(slot, ()), key=number_of)

    def granted_to(self, client: ClientName) -> list[RunId]:
        return sorted(self.granted.get(client, ()), key=number_of)

    def kept_by(self, client: ClientName) -> list[RunId]:
        """Runs that wait and begin at a checkpoint that only this client, or a few with it, may have."""
        return sorted(self.keepers.get(client, ()), key=number_of)

    def _note_keepers(self, run: Run) -> None:
        before, now = self._kept_by.pop(run.id, ()), _keepers_of(run)
        if not before and not now:
            return
        for name in before:
            self.keepers[name].pop(run.id)
            if not self.keepers[name]:
                del self.keepers[name]
        for name in now:
            self.keepers.setdefault(name, {})[run.id] = None
        if now:
            self._kept_by[run.id] = now

    def touch_run(self, run: Run) -> None:
        """Bring everything about the run up to date."""
        self._note_keepers(run)
        if run.state is RunState.RUNNING and run.grants and run.grants[-1].phase is GrantPhase.STOPPING:
            self.recalled[run.id] = None
        else:
            self.recalled.pop(run.id, None)
        place, before = self._place_of(run), self.places.get(run.id)
        if run.home is not None:
            self.dirty[run.home] = None
        if place == before:
            return
        pool = self.pools[run.experiment]
        self.anywhere -= pool.anywhere
        if before is not None:
            pool.remove(run.id, before)
            del self.places[run.id]
        if place is not None:
            pool.add(run.id, place)
            self.places[run.id] = place
        self.anywhere += pool.anywhere
        self.reorder(self._plan.experiments[run.experiment])

    def grant_opened(self, run: Run, client: ClientName) -> None:
        """The client has a grant of the run."""
        self.granted.setdefault(client, {})[run.id] = None

    def grants_closed(self, run: Run, client: ClientName) -> None:
        """The run has lost a grant that this client had."""
        if not any(grant.client == client for grant in run.grants) and client in self.granted:
            self.granted[client].pop(run.id, None)
            if not self.granted[client]:
                del self.granted[client]

    def order_key(self, experiment: Experiment) -> OrderKey:
        """Higher priority first, then who was served least, then who came first."""
        return (-experiment.spec.resources.priority, experiment.service_s, number_of(experiment.id), experiment.id)

    def reorder(self, experiment: Experiment) -> None:
        """Bring the experiment's place in ``order`` up to date."""
        before = self._order_keys.get(experiment.id)
        key = self.order_key(experiment) if len(self.pools[experiment.id].slowest) else None
        if key == before:
            return
        if before is not None:
            del self.order[bisect_left(self.order, before)]
            del self._order_keys[experiment.id]
        if key is not None:
            insort(self.order, key)
            self._order_keys[experiment.id] = key

    def touch_slot(self, slot: Slot) -> None:
        """Bring everything about the slot up to date."""
        slot_id = slot.spec.id
        self.forget_slot(slot_id)
        self.dirty[slot_id] = None
        client = self._plan.clients.get(slot.client)
        ready = client is not None and client.state is ClientState.READY and not slot.outsider
        if ready:
            self.ready[slot_id] = None
        match slot.queue:
            case []:
                if ready:
                    self.vacant[slot_id] = None
            case [_]:
                if ready:
                    self.single[slot_id] = None
            case [(active, _), *_, (run_id, generation)]:
                run = self._plan.runs[run_id]
                grant = next(grant for grant in run.grants if grant.generation == generation)
                if ready and run.state is RunState.RUNNING and grant.phase is GrantPhase.OPEN:
                    priority = self._plan.experiments[run.experiment].spec.resources.priority
                    self.ahead.put(slot_id, (priority, -generation, number_of(run_id)))
                    if run_id != active:
                        self.ahead_other.put(slot_id, (-(run.total_steps - grant.from_step) * expected_step_s(run), number_of(run_id)))

    def forget_slot(self, slot_id: SlotId) -> None:
        self.ready.pop(slot_id, None)
        self.vacant.pop(slot_id, None)
        self.single.pop(slot_id, None)
        self.ahead.discard(slot_id)
        self.ahead_other.discard(slot_id)

    def to_fill(self, slots: dict[SlotId, None]) -> list[SlotId]:
        """Of ``vacant`` or ``single`` those that something may be found for, in a fixed order."""
        return sorted(slots if self.anywhere else (slot for slot in self.dirty if slot in slots))

    def content(self) -> dict[str, object]:
        """Everything it knows, for comparison."""
        pools = {experiment: [heap.keys() for heap in _heaps(pool)] for experiment, pool in sorted(self.pools.items())}
        return {
            "pools": pools,
            "hot": {experiment: sorted(pool.hot) for experiment, pool in self.pools.items()},
            "places": self.places,
            "order": self.order,
            "live": self._live,
            "anywhere": self.anywhere,
            "homes": self.homes,
            "granted": self.granted,
            "ready": self.ready,
            "vacant": self.vacant,
            "single": self.single,
            "ahead": self.ahead.keys(),
            "ahead_other": self.ahead_other.keys(),
            "keepers": self.keepers,
            "recalled": self.recalled,
            "run_names": self.run_names,
            "experiment_names": self.experiment_names,
            "clones": self.clones,
            "jobs": self.jobs.content(),
        }

    def _place_of(self, run: Run) -> Place | None:
        grants = run.grants
        if not grants:
            if run.state is not RunState.QUEUED or out_of_reach(self._plan, run):
                return None
            wait = Wait.FRESH if run.position == run.first_step and not run.checkpoints else Wait.MOVABLE
        else:
            last = grants[-1]
            if run.state is not RunState.RUNNING or last.phase is not GrantPhase.TRAINED or last.to_step >= run.total_steps:
                return None
            if len(grants) >= OPEN_GRANTS_MAX or run.home != last.slots[0]:
                return None
            wait = Wait.LOCAL
        planned = run.planned_position
        chunks = self._plan.experiments[run.experiment].spec.chunks
        done = chunks_done(planned, chunks, run.steps_per_epoch, run.total_steps)
        return Place(wait, run.home, (run.total_steps - planned) * expected_step_s(run), done)
