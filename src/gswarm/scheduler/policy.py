"""Whose turn it is on which slot (DESIGN.md, section 4, "Policy").

Between experiments: priority, then weighted fair share. A slot leaves its experiment only when that is more than a chunk ahead
in service, so that bases are not swapped at every chunk. Inside an experiment: the first chunk of every run, then the run that the
slot holds until it leads the slowest waiting run by ``max_skew`` chunks, then the run with most work left, preferably one that
is hot here or nowhere. Towards an experiment's end, when few runs wait, balance comes before keeping runs where they are.

Every slot gets one grant to train and one ahead, so that the end of a chunk never waits for the host. A grant ahead that has not
begun can be called back, for a higher priority or for a slot that would idle.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge

from gswarm.domain.ids import ExperimentId, RunId, SlotId
from gswarm.domain.plan import Experiment, GrantPhase, Run, RunState, Slot
from gswarm.domain.steps import chunks_done, next_chunk_end
from gswarm.scheduler import leases
from gswarm.scheduler.gangs import Reservations, avoids, gang_slots
from gswarm.scheduler.heap import LazyHeap
from gswarm.scheduler.index import OPEN_GRANTS_MAX, OrderKey, Pool, Wait, expected_step_s
from gswarm.scheduler.state import Plan, Turn

AFFINITY_WINDOW = 8
"""Experiments next in order among which one with the slot's base is looked for."""


def dispatch(turn: Turn) -> None:
    """Fill every slot that something can be found for: first those that idle, then the places ahead."""
    index = turn.plan.index
    reservations = Reservations(turn.plan)
    _fill_all(turn, index.vacant, reservations, may_rob=False)
    while _fill_all(turn, index.vacant, reservations, may_rob=True):
        pass  # a gang has its slots now; those that were kept for it are looked at again
    _fill_all(turn, index.single, reservations, may_rob=True)
    _call_back_for_priority(turn, reservations)
    _call_back_for_idle(turn, reservations)
    index.dirty.clear()


def _fill_all(turn: Turn, slots: dict[SlotId, None], reservations: Reservations, *, may_rob: bool) -> bool:
    """Fills what it can of ``slots``; whether a gang got some of them."""
    has_gang = False
    for slot_id in turn.plan.index.to_fill(slots):
        found = _choose(turn.plan, turn.plan.slots[slot_id], reservations, may_rob=may_rob) if slot_id in slots else None
        if found is not None:
            run, given = found
            leases.give(turn, run, given)
            reservations.renew()
            has_gang = has_gang or len(given) > 1
    return has_gang


def _choose(plan: Plan, slot: Slot, reservations: Reservations, *, may_rob: bool) -> tuple[Run, tuple[SlotId, ...]] | None:
    """The run that the slot gets next, and all the slots it gets."""
    if slot.queue and not _takes_more(plan, slot):
        return None
    held = _held(plan, slot)
    for experiment in _turns(plan, slot, held):
        own = held if held is not None and held.experiment == experiment.id else None
        run = _pick(plan, experiment, slot, own, may_rob=may_rob)
        if run is not None and experiment.spec.resources.gpus_per_run == 1:
            return run, (slot.spec.id,)
        # A gang takes other slots too: unless it goes on where it is, those that are hot for somebody find their run first.
        slots = gang_slots(plan, experiment, run, slot) if run is not None and (may_rob or run.grants) else None
        if run is not None and slots is not None:
            return run, slots
        # Also where the gang's run avoids this very slot: it will need the slot all the same, or one beside it.
        if reservations.of(slot.client) == experiment.id:
            return None
    return None


def _takes_more(plan: Plan, slot: Slot) -> bool:
    """Nothing goes ahead behind a gang, nor while the run that trains only waits for its commits to have its next grant."""
    run_id, generation = slot.queue[-1]
    run = plan.runs[run_id]
    grant = run.grants[-1]
    if plan.experiments[run.experiment].spec.resources.gpus_per_run > 1:
        return False
    waits_for_commit = len(run.grants) >= OPEN_GRANTS_MAX and grant.phase is GrantPhase.OPEN and grant.to_step < run.total_steps
    return not (waits_for_commit and grant.generation == generation)


def _held(plan: Plan, slot: Slot) -> Run | None:
    """The run that the slot could go on with."""
    if slot.queue:
        run = plan.runs[slot.queue[-1][0]]
        last = run.grants[-1] if run.grants else None
        goes_on = run.state is RunState.RUNNING and last is not None and last.phase is GrantPhase.OPEN and last.to_step < run.total_steps
        return run if goes_on else None
    if slot.last_run is None:
        return None
    place = plan.index.places.get(slot.last_run)
    return plan.runs[slot.last_run] if place is not None and place.wait is not Wait.FRESH and place.home == slot.spec.id else None


def _turns(plan: Plan, slot: Slot, held: Run | None) -> Iterator[Experiment]:
    """Experiments that may have something for the slot, in the order of their turns there."""
    own = plan.index.order_key(plan.experiments[held.experiment]) if held is not None else None
    favourite = _favourite(plan, slot, held, own)
    if favourite is not None:
        yield plan.experiments[favourite]
    nothing_waits = own is not None and not len(plan.index.pools[own[-1]].slowest)
    for key in merge(plan.index.order, [own] if own is not None and nothing_waits else []):
        if key[-1] != favourite:
            yield plan.experiments[key[-1]]


def _favourite(plan: Plan, slot: Slot, held: Run | None, own: OrderKey | None) -> ExperimentId | None:
    """The experiment that the slot stays with, or one of the same base, although it may not be quite its turn."""
    order = plan.index.order
    if not order:
        return None
    priority, least_service_s = order[0][0], order[0][1]
    if held is not None and own is not None:
        stays = own[0] < priority or (own[0] == priority and own[1] <= least_service_s + _chunk_charge_s(plan, held))
        return own[-1] if stays else None
    last = plan.runs.get(slot.last_run) if slot.last_run is not None else None
    if last is None:
        return None
    slack_s = _chunk_charge_s(plan, last)
    for key in order[:AFFINITY_WINDOW]:
        if key[0] != priority or key[1] > least_service_s + slack_s:
            return None
        if plan.runs[plan.experiments[key[-1]].runs[0]].base == last.base:
            return key[-1]
    return None


def _chunk_charge_s(plan: Plan, run: Run) -> float:
    """About what the run's experiment is charged for a chunk of it."""
    resources = plan.experiments[run.experiment].spec.resources
    return _chunk_s(plan, run) * resources.gpus_per_run / resources.weight


def _chunk_s(plan: Plan, run: Run) -> float:
    """Expected seconds of the run's first chunk; the others differ by a step at most."""
    chunks = plan.experiments[run.experiment].spec.chunks
    return next_chunk_end(0, chunks, run.steps_per_epoch, run.total_steps) * expected_step_s(run)


def _pick(plan: Plan, experiment: Experiment, slot: Slot, held: Run | None, *, may_rob: bool) -> Run | None:
    """The experiment's run for the slot. With ``may_rob`` false, runs that are hot on another idle slot are left to that one."""
    index, pool = plan.index, plan.index.pools[experiment.id]
    fresh = _first(plan, pool.fresh, slot)
    if fresh is not None:
        return fresh
    far = _first(plan, pool.movable, slot)
    if held is not None:
        slowest = pool.slowest.first()
        lead = _chunks(plan, held) - index.places[slowest].chunks if slowest is not None else 0
        if slowest is None or (lead < experiment.max_skew and not _falls_behind(plan, pool, held, far)):
            return held
    if far is not None and not may_rob and far.home != slot.spec.id and index.places[far.id].home in index.vacant:
        far = None
    near = _near(plan, pool, slot)
    if near is None or (far is not None and _is_worth_moving(plan, experiment, pool, far, near)):
        near = far
    return near if near is not None else held


def _falls_behind(plan: Plan, pool: Pool, held: Run, far: Run | None) -> bool:
    """At the end of an experiment, when fewer runs wait than half the slots: a waiting one has over a chunk more work left
    than the one that the slot holds, and would end after all others."""
    if far is None or 2 * len(pool.movable) > len(plan.index.ready):
        return False
    held_left_s = (held.total_steps - held.planned_position) * expected_step_s(held)
    return plan.index.places[far.id].remaining_s > held_left_s + _chunk_s(plan, held)


def _is_worth_moving(plan: Plan, experiment: Experiment, pool: Pool, far: Run, near: Run) -> bool:
    """A run that is hot elsewhere is taken only if it has over ``max_skew`` chunks more work left, or towards the end any more."""
    more_s = plan.index.places[far.id].remaining_s - plan.index.places[near.id].remaining_s
    at_the_end = len(pool.movable) <= 2 * len(plan.index.ready)
    return more_s > (0.0 if at_the_end else experiment.max_skew * _chunk_s(plan, far))


def _first(plan: Plan, heap: LazyHeap[RunId], slot: Slot) -> Run | None:
    """The run with most work left that does not avoid the slot."""
    first = heap.first()
    if first is not None and plan.runs[first].avoid_slots:
        first = heap.first_where(lambda run_id: not avoids(plan, plan.runs[run_id], slot.spec.id))
    return plan.runs[first] if first is not None else None


def _near(plan: Plan, pool: Pool, slot: Slot) -> Run | None:
    """Of the runs that are hot here or nowhere the one with most work left."""
    hot = pool.hot.get(slot.spec.id)
    here = hot.first() if hot is not None else None
    nowhere = _first(plan, pool.homeless, slot)
    if here is None or nowhere is None:
        return plan.runs[here] if here is not None else nowhere
    places = plan.index.places
    return nowhere if places[nowhere.id].remaining_s > places[here].remaining_s else plan.runs[here]


def _chunks(plan: Plan, run: Run) -> int:
    chunks = plan.experiments[run.experiment].spec.chunks
    return chunks_done(run.planned_position, chunks, run.steps_per_epoch, run.total_steps)


def _call_back_for_priority(turn: Turn, reservations: Reservations) -> None:
    """A higher priority takes over at the next chunk's start: grants ahead of lower priorities are called back for it."""
    index = turn.plan.index
    least = index.ahead.first()
    if least is None or not index.order or _priority_ahead(turn.plan, least) >= -index.order[0][0]:
        return
    experiment = turn.plan.experiments[index.order[0][-1]]
    resources, client = experiment.spec.resources, None
    if resources.gpus_per_run > 1:
        client = next((name for name, gang in reservations.held().items() if gang == experiment.id), None)
        if client is None:
            return
    for _ in range(index.pools[experiment.id].anywhere * resources.gpus_per_run - len(index.recalled)):
        slot_id = index.ahead.first_where(
            lambda one: _is_wanted(turn.plan, experiment, one) if client is None else turn.plan.slots[one].client == client
        )
        if slot_id is None or _priority_ahead(turn.plan, slot_id) >= resources.priority:
            return
        _call_back(turn, turn.plan.slots[slot_id])


def _is_wanted(plan: Plan, experiment: Experiment, slot_id: SlotId) -> bool:
    """Whether a waiting run of the experiment may train there: what is called back for one that avoids the slot is only given again."""
    pool, slot = plan.index.pools[experiment.id], plan.slots[slot_id]
    return _first(plan, pool.fresh, slot) is not None or _first(plan, pool.movable, slot) is not None


def _priority_ahead(plan: Plan, slot_id: SlotId) -> int:
    run = plan.runs[plan.slots[slot_id].queue[-1][0]]
    return plan.experiments[run.experiment].spec.resources.priority


def _call_back_for_idle(turn: Turn, reservations: Reservations) -> None:
    """A slot that found nothing takes a run that waits behind another one elsewhere."""
    index = turn.plan.index
    if not len(index.ahead_other):
        return
    idle = [slot_id for slot_id in sorted(index.vacant) if reservations.of(turn.plan.slots[slot_id].client) is None]
    for slot_id in idle[len(index.recalled) :]:
        from_slot = _ahead_for(turn.plan, slot_id)
        if from_slot is None:
            return
        _call_back(turn, turn.plan.slots[from_slot])


def _ahead_for(plan: Plan, idle: SlotId) -> SlotId | None:
    """The slot whose waiting run has most work left and may train on the idle one."""
    return plan.index.ahead_other.first_where(lambda slot_id: not avoids(plan, plan.runs[plan.slots[slot_id].queue[-1][0]], idle))


def _call_back(turn: Turn, slot: Slot) -> None:
    run_id, generation = slot.queue[-1]
    run = turn.plan.runs[run_id]
    leases.stop(turn, run, [grant for grant in run.grants if grant.generation == generation])
