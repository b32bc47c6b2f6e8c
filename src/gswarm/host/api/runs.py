"""Runs: look at them, steer them, ask for a verification or an export."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import Query, Response
from pydantic import TypeAdapter

from gswarm.domain.errors import ConflictError, InvalidInputError, NotFoundError
from gswarm.domain.ids import JobId, RequestId
from gswarm.domain.parse import run_spec_to_dict, run_spec_with
from gswarm.domain.plan import Checkpoint, JobKind, Run, RunOp, RunState
from gswarm.host.api import models, views
from gswarm.host.api.deps import By, Note, RequestKey, ServicesDep, made
from gswarm.host.api.paging import Cursor, Limit, page
from gswarm.scheduler.clones import plan_clone
from gswarm.scheduler.events import JobRequested, RunCloneRequested, RunOpRequested
from gswarm.scheduler.lifecycle import possible_ops
from gswarm.scheduler.retention import best_of

EXPORT_FORMATS = ("adapter", "merged")
_CHECKPOINT = TypeAdapter(Checkpoint)


async def run_views(services: ServicesDep, runs: Sequence[Run]) -> list[models.RunView]:
    """Views with their newest metrics; the store is read in one thread, the plan on the loop."""
    ids = [run.id for run in runs]
    latest = await asyncio.to_thread(lambda: [services.series.latest(run) for run in ids])
    return [views.run_view(services.loop.state, run, newest) for run, newest in zip(runs, latest, strict=True)]


async def list_runs(
    services: ServicesDep,
    limit: Limit = 100,
    cursor: Cursor = None,
    experiment: str | None = None,
    state: Annotated[list[RunState] | None, Query(description="Only runs in one of these states.")] = None,
) -> models.Page[models.RunView]:
    """Runs in order of submission; deleted ones only when their state is asked for."""
    plan = services.loop.state
    of = plan.find_experiment(experiment).id if experiment is not None else None
    wanted = frozenset(state) if state else frozenset(RunState) - {RunState.DELETED}
    matching = [run for run in plan.runs.values() if run.state in wanted and of in (None, run.experiment)]
    chosen, following = page(matching, lambda run: run.id, limit, cursor)
    return models.Page(items=await run_views(services, chosen), next_cursor=following)


async def get_run(services: ServicesDep, run: str) -> models.RunView:
    """One run, by id or unique name."""
    return (await run_views(services, [services.loop.state.find_run(run)]))[0]


async def stop_run(services: ServicesDep, by: By, key: RequestKey, run: str) -> models.RunView:
    """Stop at the next step; the position then says where."""
    return await _operate(services, by, key, run, RunOp.STOP)


async def resume_run(services: ServicesDep, by: By, key: RequestKey, run: str) -> models.RunView:
    """Continue from exactly where it stopped."""
    return await _operate(services, by, key, run, RunOp.RESUME)


async def delete_run(services: ServicesDep, by: By, key: RequestKey, run: str) -> models.RunView:
    """Stop it and drop its checkpoints; it can be restored until the sweep."""
    return await _operate(services, by, key, run, RunOp.DELETE)


async def restore_run(services: ServicesDep, by: By, key: RequestKey, run: str) -> models.RunView:
    """Undo a deletion."""
    return await _operate(services, by, key, run, RunOp.RESTORE)


async def _operate(services: ServicesDep, by: str, key: RequestKey, ref: str, op: RunOp) -> models.RunView:
    run = services.loop.state.find_run(ref)
    await services.loop.submit(RunOpRequested(request=key, run=run.id, op=op, by=by))
    return await get_run(services, run.id)


async def clone_run(
    services: ServicesDep, response: Response, by: By, key: RequestKey, note: Note, run: str, body: models.CloneRequest
) -> models.RunView:
    """A new run of this one's spec with changes, cold or warm. It is checked in full before anything happens to anyone."""
    event = _clone_wish(services.loop.state.find_run(run), by, key, body)
    clone = made(await services.loop.submit(event))
    response.headers["Location"] = f"/api/v1/runs/{clone}"
    note.detail = f"made {clone}"
    return await get_run(services, clone)


async def validate_clone(services: ServicesDep, by: By, key: RequestKey, run: str, body: models.CloneRequest) -> models.PlannedCloneView:
    """What ``clone`` would make of the same request, or the error that it would answer; nothing is made."""
    event = _clone_wish(services.loop.state.find_run(run), by, key, body)
    planned = plan_clone(services.loop.state, event)
    before, after = run_spec_to_dict(planned.parent.spec), run_spec_to_dict(event.spec)
    return models.PlannedCloneView(
        parent=planned.parent.id,
        changes={name: _as_text(value) for name, value in after.items() if value != before[name]},
        start=views.start_view(planned.start),
        first_step=planned.first_step,
        total_steps=planned.total_steps,
        spec=after,
    )


def _clone_wish(parent: Run, by: str, key: RequestId, body: models.CloneRequest) -> RunCloneRequested:
    spec = run_spec_with(parent.spec, body.set)
    changes = tuple((name, _as_text(value)) for name, value in body.set.items())
    return RunCloneRequested(request=key, parent=parent.id, spec=spec, changes=changes, warm_start=_warm_start(body.warm_start), by=by)


def _warm_start(wanted: str | int | None) -> str | None:
    text = str(wanted) if wanted is not None else None
    if text is None or text in ("latest", "best") or (text.isascii() and text.isdecimal()):
        return text
    raise InvalidInputError(f"warm_start is {text!r}", "it is latest, best, a step, or left out for a cold clone")


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


async def verify_run(services: ServicesDep, by: By, key: RequestKey, run: str) -> models.JobView:
    """Retrain the run without interruption and compare the weights; the run shows the result once the job is done."""
    return await _request_job(services, by, key, run, JobKind.VERIFY, _latest, {})


async def export_run(services: ServicesDep, by: By, key: RequestKey, run: str, body: models.ExportRequest) -> models.JobView:
    """Make an adapter or a merged model out of a checkpoint; the job's result names the manifest of its files in the pool."""
    if body.format not in EXPORT_FORMATS:
        raise InvalidInputError(f"the format {body.format!r} is unknown", f"it is {' or '.join(EXPORT_FORMATS)}")

    def kept(found: Run) -> Checkpoint:
        return _kept(services, found, str(body.checkpoint))

    return await _request_job(services, by, key, run, JobKind.EXPORT, kept, {"format": body.format})


def _kept(services: ServicesDep, run: Run, wanted: str) -> Checkpoint:
    latest = _latest(run)
    if wanted == "latest":
        return latest
    if wanted == "best":
        metric = services.loop.state.experiments[run.experiment].spec.search.metric
        return best_of(run.checkpoints, metric) or latest
    for checkpoint in run.checkpoints:
        if str(checkpoint.step) == wanted:
            return checkpoint
    kept = ", ".join(str(checkpoint.step) for checkpoint in run.checkpoints)
    raise NotFoundError(f"run {run.id} keeps no checkpoint {wanted!r}", f"it keeps the steps {kept}; best and latest work too")


def _latest(run: Run) -> Checkpoint:
    if run.latest is None:
        raise ConflictError(f"run {run.id} has no checkpoint yet", "wait for its first chunk", possible_ops(run.state))
    return run.latest


async def _request_job(
    services: ServicesDep,
    by: str,
    key: RequestKey,
    ref: str,
    kind: JobKind,
    choose: Callable[[Run], Checkpoint],
    options: dict[str, object],
) -> models.JobView:
    """The checkpoint is part of the request, whose digests keep the sweep away from it until the job is forgotten."""
    state = services.loop.state

    def known_job() -> models.JobView | None:
        made_before = state.result_of(key)
        job = state.jobs.get(JobId(made_before)) if made_before is not None else None
        return views.job_view(job) if job is not None else None

    # Before anything is chosen: what "best" means, and what is kept, may have changed since; the same request is still the same job.
    known = await services.loop.at_rest(known_job)
    if known is not None:
        return known
    run = state.find_run(ref)
    checkpoint = choose(run)
    request = options | {"step": checkpoint.step, "checkpoint": _CHECKPOINT.dump_python(checkpoint, mode="json")}
    event = JobRequested(request=key, kind=kind, run=run.id, request_json=json.dumps(request, sort_keys=True), by=by)
    job = JobId(made(await services.loop.submit(event)))
    return views.job_view(state.jobs[job])
