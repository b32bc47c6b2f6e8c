"""What a run measured and said: metrics, logs, checkpoints, and why it is where it is."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated

from fastapi import Query

from gswarm.domain.errors import NotFoundError
from gswarm.domain.ids import RunId
from gswarm.host.api import models, views
from gswarm.host.api.deps import ServicesDep
from gswarm.profiler.series import SeriesStore
from gswarm.scheduler.explain import explain_run

LOG_LINES_MAX = 5000

Names = Annotated[list[str] | None, Query(max_length=50, description="Only these metrics.")]
Points = Annotated[int | None, Query(ge=2, le=100_000, description="Most points a metric; extremes stay.")]


async def run_metrics(
    services: ServicesDep,
    run: str,
    metric: Names = None,
    from_step: Annotated[int, Query(ge=0)] = 0,
    to_step: Annotated[int | None, Query(ge=0)] = None,
    points: Points = None,
) -> models.MetricsView:
    """The series of a run by step."""
    found = services.loop.state.find_run(run)
    return await asyncio.to_thread(_read_series, services.series, found.id, metric, from_step, to_step, points)


def _read_series(
    store: SeriesStore, run: RunId, wanted: list[str] | None, from_step: int, to_step: int | None, points: int | None
) -> models.MetricsView:
    names = store.metrics(run)
    unknown = sorted(set(wanted or ()) - set(names))
    if unknown:
        raise NotFoundError(f"run {run} has no metric {', '.join(unknown)}", f"it has {', '.join(names) or 'none yet'}")
    series = [
        models.SeriesView(
            metric=name,
            points=[
                (step, value if math.isfinite(value) else None, at_s)
                for step, value, at_s in store.query(run, name, from_step, to_step, points)
            ],
        )
        for name in (wanted or names)
    ]
    return models.MetricsView(run=run, metrics=names, series=series)


async def run_checkpoints(services: ServicesDep, run: str) -> models.Page[models.CheckpointView]:
    """Checkpoints that are kept, in step order."""
    found = services.loop.state.find_run(run)
    metric = services.loop.state.experiments[found.experiment].spec.search.metric
    return models.Page(items=views.checkpoint_views(found, metric), next_cursor=None)


async def run_explain(services: ServicesDep, run: str) -> models.ExplainView:
    """Why the run is where it is."""
    found = services.loop.state.find_run(run)
    return views.explain_view(found, explain_run(services.loop.state, found.id, services.clock()))
