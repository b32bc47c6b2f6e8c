"""Clients that come, go, and finish what they hold."""

from __future__ import annotations

import re

from gswarm.domain.errors import ConflictError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import ClientName, RunId, SlotId
from gswarm.domain.plan import Client, ClientState, Run, Slot
from gswarm.scheduler import jobs, leases
from gswarm.scheduler.effects import SendRevoke
from gswarm.scheduler.events import ClientDrainRequested, ClientLost, ClientRegistered, SlotsOccupied
from gswarm.scheduler.state import Turn

CLIENTS_MAX = 10_000
SLOTS_PER_CLIENT_MAX = 256

_SLOT_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
"""As it stands in a slot's id, which has one spelling only: other digits and leading zeros would name another slot's number."""


def registered(turn: Turn, event: ClientRegistered) -> None:
    """Know the client and its slots. Whatever it was granted and does not hold any more is over.

    Raises:
        InvalidInputError: a slot is named twice or belongs to another client.
        LimitError: too many clients or slots.
    """
    _check(turn, event)
    plan = turn.plan
    _make_room(turn, event.client)
    known = plan.clients.get(event.client)
    restarted = known is not None and known.incarnation != event.incarnation
    draining = known is not None and known.state is ClientState.DRAINING
    slots = [spec.id for spec in event.slots]
    plan.clients[event.client] = Client(
        name=event.client,
        incarnation=event.incarnation,
        state=ClientState.DRAINING if draining else ClientState.READY,
        version=event.version,
        data_url=event.data_url,
        slots=slots,
        labels=event.labels,
        registered_at_s=turn.now_s,
    )
    gone = [slot_id for slot_id in (known.slots if known is not None else ()) if slot_id not in slots]
    _reconcile(turn, event, frozenset(gone))
    for slot_id in gone:
        _cool(turn, slot_id, keep_granted=False)
        plan.index.forget_slot(slot_id)
        del plan.slots[slot_id]
    for spec in event.slots:
        if spec.id in plan.slots:
            plan.slots[spec.id].spec = spec
            plan.slots[spec.id].outsider = ""  # it says so again if it is still so
            if restarted:
                _cool(turn, spec.id, keep_granted=True)
        else:
            plan.slots[spec.id] = Slot(spec=spec, client=event.client)
        plan.index.touch_slot(plan.slots[spec.id])
    _touch_kept(turn, event.client)
    jobs.take_back(turn, event.client, still_held=event.jobs)


def lost(turn: Turn, event: ClientLost) -> None:
    """Its leases are over: its runs go back to the queue, whatever it reports later is refused.

    Raises:
        NotFoundError: there is no such client.
    """
    client = _client(turn, event.client)
    if client.state is ClientState.LOST:
        return
    client.state = ClientState.LOST
    client.lost_at_s = turn.now_s
    client.lost_reason = event.reason
    turn.plan.count("lost_clients")
    for run_id in turn.plan.index.granted_to(client.name):
        run = turn.plan.runs[run_id]
        leases.close(turn, run, 0, told=len(run.grants))
        leases.settle(turn, run)
    for slot_id in client.slots:
        _cool(turn, slot_id, keep_granted=False)
        turn.plan.index.touch_slot(turn.plan.slots[slot_id])
    _touch_kept(turn, client.name)
    jobs.take_back(turn, client.name)


def drained(turn: Turn, event: ClientDrainRequested) -> None:
    """A draining client finishes what it holds and gets nothing new. Asked twice, it changes nothing.

    Raises:
        NotFoundError: there is no such client.
        ConflictError: it is not connected.
    """
    client = _client(turn, event.client)
    if client.state is ClientState.LOST:
        raise ConflictError(f"client {client.name} is not connected", "connect it first; gswarm client list shows the clients")
    client.state = ClientState.DRAINING if event.drain else ClientState.READY
    for slot_id in client.slots:
        turn.plan.index.touch_slot(turn.plan.slots[slot_id])


def occupied(turn: Turn, event: SlotsOccupied) -> None:
    """These slots finish what they hold and get nothing new; the client's others may be used (again).

    Raises:
        NotFoundError: there is no such client.
        InvalidInputError: a slot is not the client's.
    """
    client, accounts = _client(turn, event.client), dict(event.slots)
    strange = sorted(accounts.keys() - set(client.slots))
    if strange:
        raise InvalidInputError(f"slot {strange[0]} is not one of client {client.name}")
    for slot_id in client.slots:
        slot = turn.plan.slots[slot_id]
        if slot.outsider != accounts.get(slot_id, ""):
            slot.outsider = accounts.get(slot_id, "")
            turn.plan.index.touch_slot(slot)


def _client(turn: Turn, name: ClientName) -> Client:
    client = turn.plan.clients.get(name)
    if client is None:
        raise NotFoundError(f"there is no client {name!r}", "gswarm client list shows the clients")
    return client


def _check(turn: Turn, event: ClientRegistered) -> None:
    ids = [spec.id for spec in event.slots]
    if len(set(ids)) != len(ids):
        raise InvalidInputError(f"client {event.client} names a slot twice")
    if len(ids) > SLOTS_PER_CLIENT_MAX:
        raise LimitError(f"client {event.client} has {len(ids)} slots; the limit is {SLOTS_PER_CLIENT_MAX}", "use fewer slots a device")
    for slot_id in ids:
        slot = turn.plan.slots.get(slot_id)
        if slot is not None and slot.client != event.client:
            raise InvalidInputError(f"slot {slot_id} belongs to client {slot.client}")
        owner, _, number = slot_id.rpartition("/")
        if owner != event.client or not _SLOT_NUMBER.fullmatch(number):
            raise InvalidInputError(f"slot {slot_id!r} of client {event.client} has no name that is known", f"name it {event.client}/0")
    lost = any(client.state is ClientState.LOST for client in turn.plan.clients.values())
    if event.client not in turn.plan.clients and len(turn.plan.clients) >= CLIENTS_MAX and not lost:
        raise LimitError(f"the cluster has {CLIENTS_MAX} clients already", "disconnect some, or use more slots a client")


def _make_room(turn: Turn, newcomer: ClientName) -> None:
    """Where the cluster is full, the client that was lost longest ago is forgotten: names of machines that never come back add up."""
    plan = turn.plan
    if newcomer in plan.clients or len(plan.clients) < CLIENTS_MAX:
        return
    oldest = min((one for one in plan.clients.values() if one.state is ClientState.LOST), key=lambda one: one.lost_at_s or 0.0)
    for slot_id in oldest.slots:
        plan.index.forget_slot(slot_id)
        del plan.slots[slot_id]
    del plan.clients[oldest.name]


def _reconcile(turn: Turn, event: ClientRegistered, gone: frozenset[SlotId]) -> None:
    """Close the client's open grants that it does not hold, and those behind them; revoke what it holds and is not open."""
    held = {(grant.run, grant.generation) for grant in event.held}
    for run_id in turn.plan.index.granted_to(event.client):
        run = turn.plan.runs[run_id]
        over = _first_over(run, held, gone)
        if over is None:
            continue
        leases.close(turn, run, over, told=len(run.grants))
        leases.settle(turn, run)
    for grant in reversed(event.held):
        run_of = turn.plan.runs.get(grant.run)
        still_open = run_of is not None and any(one.generation == grant.generation and one.client == event.client for one in run_of.grants)
        if not still_open:
            turn.emit(SendRevoke(event.client, grant.run, grant.generation))


def _first_over(run: Run, held: set[tuple[RunId, int]], gone: frozenset[SlotId]) -> int | None:
    for place, grant in enumerate(run.grants):
        if (run.id, grant.generation) not in held or gone.intersection(grant.slots):
            return place
    return None


def _touch_kept(turn: Turn, client: ClientName) -> None:
    """The client came or went: runs whose checkpoint is nowhere else can go on, or have to wait."""
    for run_id in turn.plan.index.kept_by(client):
        turn.plan.index.touch_run(turn.plan.runs[run_id])


def _cool(turn: Turn, slot_id: SlotId, *, keep_granted: bool) -> None:
    """No run is hot on that slot any more, but for those whose grants there are open."""
    for run_id in turn.plan.index.at_home(slot_id):
        run = turn.plan.runs[run_id]
        if not (keep_granted and run.grants):
            turn.plan.index.set_home(run, None)
            turn.plan.index.touch_run(run)
