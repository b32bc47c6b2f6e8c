"""The whole scheduler: events in, effects out.

``ClusterState.step`` is a pure function of the state, the event and the time that is passed in: the same events give the
same states on every machine, so the state can be rebuilt from the journal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import assert_never

from gswarm.domain.errors import ConflictError, InvalidInputError
from gswarm.domain.ids import ClientName, RequestId
from gswarm.domain.plan import Grant, GrantPhase, JobKind, RequestRecord
from gswarm.scheduler import clients, clones, epochs, experiments, jobs, leases, operations, policy
from gswarm.scheduler.effects import Effect, SendJob, SendStop, StartTimer, SweepBlobs
from gswarm.scheduler.events import (
    ChunkCommitted,
    ChunkFailed,
    ChunkTrained,
    ClientDrainRequested,
    ClientLost,
    ClientRegistered,
    Event,
    ExperimentOpRequested,
    ExperimentSubmitted,
    GrantReturned,
    JobFinished,
    JobRequested,
    PlanRestored,
    RunCloneRequested,
    RunOpRequested,
    SlotsOccupied,
    TimerFired,
)
from gswarm.scheduler.state import Plan, Turn, send_grant

REQUESTS_MAX = 10_000
"""Request ids that are remembered."""

Request = ExperimentSubmitted | ExperimentOpRequested | RunOpRequested | RunCloneRequested | JobRequested
"""Events with a request id. Said twice they take effect once."""
Report = (
    ClientRegistered
    | ClientLost
    | ClientDrainRequested
    | SlotsOccupied
    | ChunkTrained
    | ChunkCommitted
    | ChunkFailed
    | GrantReturned
    | JobFinished
    | PlanRestored
    | TimerFired
)


@dataclass
class ClusterState(Plan):
    """The plan and the events that change it. Serialise it with ``pydantic.TypeAdapter(ClusterState)``."""

    def step(self, event: Event, now_s: float) -> list[Effect]:
        """Apply one event.

        Args:
            event: what happened.
            now_s: when, in seconds since the epoch.

        Returns:
            What must be done, in order. Empty for a request that took effect before.

        Raises:
            ConflictError: the state does not allow it, or a request id is used again for something else.
            NotFoundError: it is about something that is not there.
            FencedError: a report whose lease is over.
            LimitError: a limit of the cluster is reached.
            InvalidInputError: it cannot be accepted in any state.

        After any of these the state is as it was before.
        """
        turn = Turn(self, now_s)
        if isinstance(event, Request):
            digest = _digest(event)
            known = self.requests.get(event.request)
            if known is not None:
                if known.digest != digest:
                    raise ConflictError(f"request {event.request!r} was used for something else", "use a new request id")
                return []
            result = _asked(turn, event)
            self.requests[event.request] = RequestRecord(event.request, result, digest)
            if len(self.requests) > REQUESTS_MAX:
                del self.requests[next(iter(self.requests))]
        else:
            _reported(turn, event)
        jobs.assign(turn)
        policy.dispatch(turn)
        if turn.sweep:
            turn.emit(SweepBlobs())
        return turn.effects

    def outstanding_effects(self, client: ClientName | None = None) -> list[Effect]:
        """What must be done again.

        Without a client, after a restart of the host: every running timer. (Everything else waits for clients to register.)
        With one, after it registered: its grants that are not trained, its stops, its jobs, in order.
        """
        if client is None:
            return [StartTimer(key, due_at_s) for key, due_at_s in self.timers.items()]
        grants = [grant for run_id in self.index.granted_to(client) for grant in self.runs[run_id].grants if grant.client == client]
        grants = sorted((grant for grant in grants if grant.phase is not GrantPhase.TRAINED), key=self._place_in_queue)
        effects: list[Effect] = [send_grant(grant) for grant in grants]
        effects += [SendStop(client, grant.run, grant.generation) for grant in grants if grant.phase is GrantPhase.STOPPING]
        effects += [SendJob(client, job.id) for job in self.index.jobs.of_client(client)]
        return effects

    def _place_in_queue(self, grant: Grant) -> tuple[str, int]:
        slot = self.slots[grant.slots[0]]
        return slot.spec.id, slot.queue.index((grant.run, grant.generation))


def _digest(event: Request) -> str:
    """Of everything but the request's id."""
    return hashlib.blake2b(repr(replace(event, request=RequestId(""))).encode(), digest_size=16).hexdigest()


def _asked(turn: Turn, event: Request) -> str:
    """Apply a request; the id that it leads to."""
    if not event.request:
        raise InvalidInputError("the request has no id", "choose a new one for each request")
    match event:
        case ExperimentSubmitted():
            return experiments.submitted(turn, event)
        case ExperimentOpRequested():
            return operations.on_experiment(turn, event)
        case RunOpRequested():
            return operations.on_run(turn, event)
        case RunCloneRequested():
            return clones.cloned(turn, event)
        case JobRequested():
            return jobs.requested(turn, event)
        case _:
            assert_never(event)


def _reported(turn: Turn, event: Report) -> None:
    match event:
        case ClientRegistered():
            epochs.check_held(turn, event)
            clients.registered(turn, event)
            epochs.heed(turn, event)
        case ClientLost():
            clients.lost(turn, event)
        case ClientDrainRequested():
            clients.drained(turn, event)
        case SlotsOccupied():
            clients.occupied(turn, event)
        case ChunkTrained():
            leases.trained(turn, event)
        case ChunkCommitted():
            leases.committed(turn, event)
        case ChunkFailed():
            leases.failed(turn, event)
        case GrantReturned():
            leases.returned(turn, event)
        case JobFinished():
            _job_finished(turn, event)
        case PlanRestored():
            epochs.restored(turn, event)
        case TimerFired():
            operations.fired(turn, event)
        case _:
            assert_never(event)


def _job_finished(turn: Turn, event: JobFinished) -> None:
    """Raises:
    FencedError: the client does not hold the job.
    InvalidInputError: it has both a result and a failure, or neither.
    """
    job = jobs.held_by(turn.plan, event.client, event.job)
    succeeded = event.failure is None
    if succeeded == (event.result_json is None and not event.sizes):
        raise InvalidInputError(f"job {job.id} must end with either a result or a failure")
    result_json = (event.result_json or "{}") if succeeded else None
    turn.plan.index.jobs.put(replace(job, result_json=result_json, failure=event.failure))
    match job.kind:
        case JobKind.PREPARE:
            assert job.experiment is not None
            failure = leases.placed(event.failure, event.client) if event.failure is not None else None
            experiments.prepared(turn, turn.plan.experiments[job.experiment], event.sizes, failure)
        case JobKind.VERIFY:
            assert job.run is not None
            if succeeded:
                turn.plan.runs[job.run].verification = event.result_json
        case JobKind.EXPORT:
            pass
        case _:
            assert_never(job.kind)
