"""Jobs: work for a client that is not a chunk."""

from __future__ import annotations

from gswarm.domain.errors import NotFoundError
from gswarm.domain.ids import JobId
from gswarm.host.api import models, views
from gswarm.host.api.deps import ServicesDep
from gswarm.host.api.paging import Cursor, Limit, page


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
