"""Jobs: work for a client that is not a chunk."""

from __future__ import annotations

from dataclasses import replace

from gswarm.domain.errors import ConflictError, FencedError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import ClientName, ExperimentId, JobId, RunId
from gswarm.domain.plan import ClientState, Job, JobKind, RunState
from gswarm.scheduler.effects import SendJob
from gswarm.scheduler.events import JobRequested
from gswarm.scheduler.job_index import is_finished
from gswarm.scheduler.lifecycle import possible_ops
from gswarm.scheduler.state import Plan, Turn

OPEN_MAX = 10_000
PER_CLIENT_MAX = 4
"""Jobs that a client has at once, the one that it does and the next ones; the others wait here, where any client can take them."""


def requested(turn: Turn, event: JobRequested) -> str:
    """Raises:
    NotFoundError: there is no such run.
    InvalidInputError: the kind is one that people do not ask for.
    ConflictError: the run is deleted, or has no checkpoint yet.
    LimitError: too many open jobs.
    """
    run = turn.plan.runs.get(event.run)
    if run is None:
        raise NotFoundError(f"there is no run {event.run!r}", "gswarm run list shows the runs")
    if event.kind is JobKind.PREPARE:
        raise InvalidInputError("experiments are prepared when they are submitted")
    if run.state in {RunState.DELETING, RunState.DELETED}:
        raise ConflictError(f"cannot {event.kind} {run.id}: it is deleted", "restore it first", possible_ops(run.state))
    if run.latest is None:
        raise ConflictError(f"cannot {event.kind} {run.id}: it has no checkpoint yet", "wait for its first chunk", possible_ops(run.state))
    check_room(turn.plan)
    return create(turn, event.kind, experiment=run.experiment, run=run.id, request_json=event.request_json).id


def check_room(plan: Plan) -> None:
    """Raises:
    LimitError: there are ``OPEN_MAX`` open jobs.
    """
    if plan.index.jobs.open_count() >= OPEN_MAX:
        raise LimitError(f"{OPEN_MAX} jobs are open already", "wait until some are finished")


def create(turn: Turn, kind: JobKind, *, experiment: ExperimentId, run: RunId | None = None, request_json: str = "") -> Job:
    job = Job(JobId(f"j{turn.plan.count('jobs')}"), kind, experiment, run, request_json, requested_at_s=turn.now_s)
    turn.plan.index.jobs.put(job)
    return job


def held_by(plan: Plan, client: ClientName, job_id: JobId) -> Job:
    """Raises:
    FencedError: the job is finished, or the client does not have it.
    """
    job = plan.jobs.get(job_id)
    if job is None or is_finished(job) or job.client != client:
        raise FencedError(f"{client} does not hold job {job_id}", "it was given to another client, cancelled or reported before")
    return job


def take_back(turn: Turn, client: ClientName, *, still_held: tuple[JobId, ...] = ()) -> None:
    """The client's jobs, but for those it still has, are given out again."""
    for job in turn.plan.index.jobs.of_client(client):
        if job.id not in still_held:
            turn.plan.index.jobs.put(replace(job, client=None))


def assign(turn: Turn) -> None:
    """Give waiting jobs to the ready client with the fewest jobs, then the fewest runs, as long as one has room."""
    plan = turn.plan
    for job in plan.index.jobs.waiting():
        ready = (client.name for client in plan.clients.values() if client.state is ClientState.READY)
        best = min(ready, key=lambda name: (plan.index.jobs.count(name), len(plan.index.granted.get(name, ()))), default=None)
        if best is None or plan.index.jobs.count(best) >= PER_CLIENT_MAX:
            return
        plan.index.jobs.put(replace(job, client=best))
        turn.emit(SendJob(best, job.id))
