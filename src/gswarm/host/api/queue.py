"""What waits: runs for a slot, and jobs, which are work for a client that is not a chunk."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Query

from gswarm.domain.errors import NotFoundError
from gswarm.domain.ids import JobId
from gswarm.domain.plan import Run, RunState
from gswarm.host.api import models, views
from gswarm.host.api.deps import ServicesDep
from gswarm.host.api.paging import Cursor, Limit, page
from gswarm.scheduler.explain import explain_run
from gswarm.scheduler.waiting import waiting_order

WAITING_MAX = 100
"""Runs of one answer: each says why it waits, which costs a look at all that wait before it."""


async def list_jobs(services: ServicesDep, limit: Limit = 100, cursor: Cursor = None) -> models.Page[models.JobView]:
    """Jobs, the newest first."""
    chosen, following = page(list(reversed(services.loop.state.jobs.values())), lambda job: job.id, limit, cursor)
    return models.Page(items=[views.job_view(job) for job in chosen], next_cursor=following)


async def get_job(services: ServicesDep, job: str) -> models.JobView:
    """One job and its result."""
    found = services.loop.state.jobs.get(JobId(job))
    if found is None:
        raise NotFoundError(f"there is no job {job!r}", "'GET queue' lists them")
    return views.job_view(found)


async def list_waiting(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=WAITING_MAX, description="So many runs, from the first one on.")] = 20,
) -> models.WaitingList:
    """Runs that wait for a slot, in the order in which the policy would grant them, since when and why."""
    plan, now_s = services.loop.state, services.clock()
    chosen = [plan.runs[run] for run in waiting_order(plan, limit)]
    why = {run.id: explain_run(plan, run.id, now_s) for run in chosen}
    homes = [(run.id, run.home) for run in chosen if run.home is not None]
    ends = await asyncio.to_thread(services.profiler.chronicle.last_ends, homes) if homes else {}
    return models.WaitingList(
        items=[
            models.WaitingView(
                run=run.id,
                name=run.name,
                experiment=run.experiment,
                place=place,
                position=run.position,
                total_steps=run.total_steps,
                since=ends.get(run.id, None if _has_trained(run) else run.created_at_s),
                code=why[run.id].code,
                text=why[run.id].text,
            )
            for place, run in enumerate(chosen, 1)
        ],
        total=sum(run.state is RunState.QUEUED for run in plan.runs.values()),
    )


def _has_trained(run: Run) -> bool:
    return run.position > run.first_step
