"""A plan that was taken back to a backup: nobody may use a right that the plan gave out after that backup was made."""

from __future__ import annotations

from gswarm.domain.epochs import epoch_of, first_number
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.plan import ClientState
from gswarm.scheduler import clients
from gswarm.scheduler.events import ClientLost, ClientRegistered, HeldGrant, PlanRestored
from gswarm.scheduler.state import Plan, Turn

EPOCH_AHEAD_MAX_S = 366 * 86400.0
"""Beyond now: no clock of a host that gave numbers out was so far wrong. Who says otherwise would use the numbers up."""
LOST_REASON = "the host was restored from a backup"


def restored(turn: Turn, event: PlanRestored) -> None:
    """Every client is lost until it registers with the restored host; what is granted from now on has numbers of a new epoch.

    Raises:
        InvalidInputError: the epoch is not newer than the plan's.
    """
    if event.epoch <= turn.plan.epoch:
        raise InvalidInputError(f"epoch {event.epoch} is not newer than {turn.plan.epoch}", "restore with a clock that is right")
    for client in [client.name for client in turn.plan.clients.values() if client.state is not ClientState.LOST]:
        clients.lost(turn, ClientLost(client, LOST_REASON))
    begin(turn.plan, event.epoch)


def check_held(turn: Turn, event: ClientRegistered) -> None:
    """Called before anything is changed.

    Raises:
        InvalidInputError: the client holds what no host can have given out.
    """
    latest = max(float(turn.plan.epoch), turn.now_s + EPOCH_AHEAD_MAX_S)
    for grant in event.held:
        if epoch_of(grant.generation) > latest:
            raise InvalidInputError(
                f"{event.client} holds generation {grant.generation} of {grant.run}, which no host can have given out",
                "look at that client, and at the clocks of both machines",
            )


def heed(turn: Turn, event: ClientRegistered) -> None:
    """A client that holds what this plan has not given out yet knows more than the plan, which was then set back in some other way than by
    ``gswarm host restore``, or by a clock that was behind: its numbers are passed over, too."""
    ahead = [grant.generation for grant in event.held if _is_ahead(turn.plan, grant)]
    if ahead:
        begin(turn.plan, max(turn.plan.epoch, epoch_of(max(ahead))) + 1)


def _is_ahead(plan: Plan, grant: HeldGrant) -> bool:
    run = plan.runs.get(grant.run)
    return grant.generation > max(run.generation if run is not None else 0, first_number(plan.epoch))


def begin(plan: Plan, epoch: int) -> None:
    plan.epoch = epoch
    plan.counters["jobs"] = max(plan.counters.get("jobs", 0), first_number(epoch))
