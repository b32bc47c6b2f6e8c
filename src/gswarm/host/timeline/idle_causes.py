"""Why a slot has no run, as the plan says at that moment: the words of ``scheduler.explain`` for what is looked at often and kept."""

from __future__ import annotations

from enum import StrEnum

from gswarm.domain.plan import Client, ClientState, GrantPhase, RunState, Slot
from gswarm.scheduler.epochs import LOST_REASON
from gswarm.scheduler.gangs import Reservations
from gswarm.scheduler.state import Plan


class Cause(StrEnum):
    NO_WORK = "no_work"
    """Nothing was queued."""
    NONE_FITS = "none_fits"
    """Runs were queued, and none of them could train here."""
    KEPT_FOR_GANG = "kept_for_gang"
    WAITING = "waiting"
    """The run that was here waited: for a checkpoint, its model or its data."""
    SWAP = "swap"
    STOPPED = "stopped"
    """A person stopped or deleted the run that was here, and nothing else was queued."""
    OUTSIDERS = "outsiders"
    DRAINED = "drained"
    CLIENT_LOST = "client_lost"
    CLIENT_LEFT = "client_left"
    """It said good-bye, or was revoked."""
    UNKNOWN = "unknown"
    """From before causes were kept."""


_ENDED_BY_PEOPLE = frozenset({RunState.STOPPING, RunState.STOPPED, RunState.DELETING, RunState.DELETED})
_WANTS_MORE = frozenset({RunState.RUNNING, RunState.QUEUED})


def idle_cause(plan: Plan, slot: Slot, reservations: Reservations, *, had_run: bool) -> Cause:
    """Of a slot with nothing in its queue.

    Args:
        reservations: of the plan as it is; shared by the slots of one look.
        had_run: it trained a run just before, or has been idle since a person ended that.
    """
    client = plan.clients[slot.client]
    if client.state is not ClientState.READY:
        return _of_client(client)
    if slot.outsider:
        return Cause.OUTSIDERS
    if plan.index.order and reservations.of(slot.client) is not None:
        return Cause.KEPT_FOR_GANG
    last = plan.runs.get(slot.last_run) if slot.last_run is not None else None
    if last is not None and last.grants and last.state in _WANTS_MORE:
        grant = last.grants[-1]
        if grant.phase is GrantPhase.TRAINED and grant.to_step < last.total_steps and slot.spec.id in grant.slots:
            return Cause.WAITING
    # With nothing that any slot could take, whatever has keepers waits for one of them to come back.
    if plan.index.anywhere or plan.index.keepers:
        return Cause.NONE_FITS
    return Cause.STOPPED if had_run and last is not None and last.state in _ENDED_BY_PEOPLE else Cause.NO_WORK


def _of_client(client: Client) -> Cause:
    if client.state is ClientState.DRAINING:
        return Cause.DRAINED
    return Cause.CLIENT_LOST if client.fell_silent or client.lost_reason == LOST_REASON else Cause.CLIENT_LEFT
