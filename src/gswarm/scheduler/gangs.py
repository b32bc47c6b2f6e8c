"""Gangs: runs that train on several slots of one client at once, all or nothing.

A gang never takes a slot before it can have them all, so two gangs never wait for each other. While it is a gang's turn, the
client that comes nearest to having enough free slots is reserved: whoever comes later in the order gets nothing there. Its
free slots only grow then, so the gang is served after at most the grants that the client holds already.
"""

from __future__ import annotations

from gswarm.domain.ids import ClientName, ExperimentId, RunId, SlotId
from gswarm.domain.plan import Experiment, Run, Slot
from gswarm.scheduler.index import Wait
from gswarm.scheduler.state import Plan


class Reservations:
    """Which client is kept for which experiment's gang. Worked out when first asked for, and again after each grant."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._held: dict[ClientName, ExperimentId] | None = None

    def renew(self) -> None:
        """A grant was given."""
        self._held = None

    def of(self, client: ClientName) -> ExperimentId | None:
        return self.held().get(client)

    def held(self) -> dict[ClientName, ExperimentId]:
        if self._held is None:
            self._held = self._work_out()
        return self._held

    def _work_out(self) -> dict[ClientName, ExperimentId]:
        held: dict[ClientName, ExperimentId] = {}
        for *_, experiment_id in self._plan.index.order:
            size = self._plan.experiments[experiment_id].spec.resources.gpus_per_run
            if size == 1 or not self._plan.index.pools[experiment_id].anywhere:
                continue
            client = _nearest(self._plan, experiment_id, size, held)
            if client is not None:
                held[client] = experiment_id
        return held


def gang_slots(plan: Plan, experiment: Experiment, run: Run, slot: Slot) -> tuple[SlotId, ...] | None:
    """The slots of the slot's client that the run gets, this one among them; ``None`` if there are not enough free ones."""
    place = plan.index.places.get(run.id)
    if place is None or slot.spec.id not in plan.index.vacant:
        return None
    if place.wait is Wait.LOCAL:
        slots = run.grants[-1].slots
        return slots if all(one in plan.index.vacant for one in slots) else None
    free = free_slots(plan, slot.client)
    if len(free) < experiment.spec.resources.gpus_per_run:
        return None
    free.sort(key=lambda one: (one in run.avoid_slots, one != slot.spec.id, one))
    return tuple(free[: experiment.spec.resources.gpus_per_run])


def free_slots(plan: Plan, client: ClientName) -> list[SlotId]:
    """Slots of that client that train nothing and may be granted."""
    return [slot_id for slot_id in plan.clients[client].slots if slot_id in plan.index.vacant]


def can_hold(plan: Plan, size: int) -> list[ClientName]:
    """Clients with enough ready slots for a gang of that size."""
    return [client.name for client in plan.clients.values() if sum(slot_id in plan.index.ready for slot_id in client.slots) >= size]


def avoids(plan: Plan, run: Run, slot_id: SlotId) -> bool:
    """Whether the run failed on that slot and there is another one where it did not and could train."""
    if slot_id not in run.avoid_slots:
        return False
    size = plan.experiments[run.experiment].spec.resources.gpus_per_run
    others = (plan.slots[other] for other in plan.index.ready if other not in run.avoid_slots)
    return any(size == 1 or len(plan.clients[other.client].slots) >= size for other in others)


def _nearest(plan: Plan, experiment: ExperimentId, size: int, taken: dict[ClientName, ExperimentId]) -> ClientName | None:
    """The client with the most free slots, the first of equals. It stays the nearest while its slots are kept for the gang."""
    able = [name for name in can_hold(plan, size) if name not in taken and _may_begin_on(plan, experiment, name)]
    return max(able, key=lambda name: len(free_slots(plan, name)), default=None)


def _may_begin_on(plan: Plan, experiment: ExperimentId, client: ClientName) -> bool:
    """Whether a waiting run of the experiment does not avoid all slots of the client."""
    slots, pool = plan.clients[client].slots, plan.index.pools[experiment]

    def begins(run_id: RunId) -> bool:
        return any(not avoids(plan, plan.runs[run_id], slot_id) for slot_id in slots)

    return pool.fresh.first_where(begins) is not None or pool.movable.first_where(begins) is not None
