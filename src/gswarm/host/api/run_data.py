"""What a run measured: metrics, checkpoints, and why it is where it is."""

from __future__ import annotations

import asyncio
import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from gswarm.domain.errors import NotFoundError
from gswarm.domain.ids import RunId
from gswarm.host.api import models, views
from gswarm.host.api.curves import History, Step
from gswarm.host.api.deps import ServicesDep
from gswarm.host.timeline.chunk_parts import TELLING_METRIC
from gswarm.profiler.downsample import downsample
from gswarm.profiler.series import SeriesStore
from gswarm.scheduler.explain import explain_run

LOG_LINES_MAX = 5000
CLOCK_POINTS = 2_000

Names = Annotated[list[str] | None, Query(max_length=50, description="Only these metrics.")]
Points = Annotated[int | None, Query(ge=2, le=100_000, description="Most points a metric; extremes stay.")]


async def run_metrics(
    services: ServicesDep,
    run: str,
    metric: Names = None,
    from_step: Step = 0,
    to_step: Step | None = None,
    points: Points = None,
) -> models.MetricsView:
    """The series of a run by step; those of evaluations have a point a commit."""
    found = services.loop.state.find_run(run)
    asked = _Asked(found.id, metric, from_step, to_step, points)
    return await asyncio.to_thread(_read_series, services.series, asked, tuple(found.history), found.created_at_s)


@dataclass(frozen=True, slots=True)
class _Asked:
    run: RunId
    metrics: list[str] | None
    from_step: int
    to_step: int | None
    points: int | None


def _read_series(store: SeriesStore, asked: _Asked, history: History, created_s: float) -> models.MetricsView:
    trained = set(store.metrics(asked.run))
    names = sorted(trained | {name for _, values in history for name, _ in values})
    unknown = sorted(set(asked.metrics or ()) - set(names))
    if unknown:
        raise NotFoundError(f"run {asked.run} has no metric {', '.join(unknown)}", f"it has {', '.join(names) or 'none yet'}")
    wanted = asked.metrics or names
    clock = _clock(store, asked, history) if not trained.issuperset(wanted) else []
    series = []
    for name in wanted:
        if name in trained:
            rows = store.query(asked.run, name, asked.from_step, asked.to_step, asked.points)
        else:
            rows = _of_commits(history, name, asked, clock, created_s)
        points = [(step, value if math.isfinite(value) else None, at_s) for step, value, at_s in rows]
        series.append(models.SeriesView(metric=name, points=points))
    return models.MetricsView(run=asked.run, metrics=names, series=series)


def _clock(store: SeriesStore, asked: _Asked, history: History) -> list[tuple[int, float, float]]:
    """Steps and their times, for commits, whose times the plan does not keep."""
    return store.query(asked.run, TELLING_METRIC, 0, history[-1][0] if history else 0, CLOCK_POINTS)


def _of_commits(
    history: History, metric: str, asked: _Asked, clock: Sequence[tuple[int, float, float]], created_s: float
) -> list[tuple[int, float, float]]:
    to_step = math.inf if asked.to_step is None else asked.to_step
    found = [(step, value) for step, values in history if asked.from_step <= step <= to_step for name, value in values if name == metric]
    steps = [step for step, _, _ in clock]
    rows = []
    for step, value in found:
        before = bisect.bisect_right(steps, step)
        rows.append((step, value, clock[before - 1][2] if before else created_s))
    return rows if asked.points is None else downsample(rows, asked.points)


async def run_checkpoints(services: ServicesDep, run: str) -> models.Page[models.CheckpointView]:
    """Checkpoints that are kept, in step order."""
    found = services.loop.state.find_run(run)
    metric = services.loop.state.experiments[found.experiment].spec.search.metric
    return models.Page(items=views.checkpoint_views(found, metric), next_cursor=None)


async def run_explain(services: ServicesDep, run: str) -> models.ExplainView:
    """Why the run is where it is."""
    found = services.loop.state.find_run(run)
    return views.explain_view(found, explain_run(services.loop.state, found.id, services.clock()))
