"""Gangs: runs that train on several slots of one client at once, all or nothing.

A gang never takes a slot before it can have them all, so two gangs never wait for each other. While it is a gang's turn, the
client that comes nearest to having enough free slots is reserved: whoever comes later in the order gets nothing there. Its
free slots only grow then, so the gang is served after at most the grants that the client holds already.
"""

from __future__ import annotations

from gswarm.domain.ids import ClientName, ExperimentId, SlotId
from gswarm.domain.plan import ClientState, Experiment, Run, Slot
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
            client = _nearest(self._plan, size, held)
            if client is not None:
                held[client] = experiment_id
        return held


def gang_slots(plan: Plan, experiment: Experiment, run: Run, slot: Slot) -> tuple[SlotId, ...] | None:
    """The slots of the slot's client that the run gets, this one among them; ``None`` if there are not enough free ones."""
    place = plan.index.places.get(run.id)
    if place is None:
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
    """Ready clients with enough slots for a gang of that size."""
    return [client.name for client in plan.clients.values() if client.state is ClientState.READY and len(client.slots) >= size]


def _nearest(plan: Plan, size: int, taken: dict[ClientName, ExperimentId]) -> ClientName | None:
    """The client with the most free slots, the first of equals. It stays the nearest while its slots are kept for the gang."""
    able = [name for name in can_hold(plan, size) if name not in taken]
    return max(able, key=lambda name: len(free_slots(plan, name)), default=None)
