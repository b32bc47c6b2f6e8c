"""One metric of all the runs of an experiment, in one answer: what a chart of them draws."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from gswarm.domain.errors import NotFoundError
from gswarm.domain.ids import RunId
from gswarm.domain.steps import COUNT_MAX
from gswarm.host.api import models
from gswarm.host.api.deps import ServicesDep
from gswarm.host.api.views import GONE
from gswarm.profiler.series import SeriesStore

RUNS_MAX = 1_000
"""Of one answer."""

History = Sequence[tuple[int, tuple[tuple[str, float], ...]]]
"""(step, metrics) of every commit."""
Step = Annotated[int, Query(ge=0, le=COUNT_MAX)]
Runs = Annotated[list[str] | None, Query(max_length=RUNS_MAX, description="Only these runs; without it all that are not deleted.")]
Points = Annotated[int, Query(ge=2, le=10_000, description="Most points a run; extremes stay.")]


async def experiment_metrics(
    services: ServicesDep,
    experiment: str,
    metric: Annotated[str, Query(max_length=200)] = "loss",
    run: Runs = None,
    from_step: Step = 0,
    to_step: Step | None = None,
    points: Points = 500,
) -> models.CurvesView:
    """One metric of many runs by step, the first 1,000 of them. Runs that have no value of it are left out."""
    state = services.loop.state
    found = state.find_experiment(experiment)
    unknown = sorted(set(run or ()) - set(found.runs))
    if unknown:
        raise NotFoundError(f"experiment {found.id} has no run {', '.join(unknown)}", "'GET experiments/{e}/runs' lists its runs")
    chosen = frozenset(run) if run is not None else None
    wanted = [one for one in found.runs if (one in chosen if chosen is not None else state.runs[one].state not in GONE)][:RUNS_MAX]
    committed = [state.runs[one].history for one in wanted]
    trained = await asyncio.to_thread(_read, services.series, wanted, metric, from_step, to_step, points)
    names = trained.names | {name for history in committed for _, values in history[-1:] for name, _ in values}
    curves = trained.curves
    if metric not in trained.names:
        curves = [_of_commits(one, history, metric, from_step, to_step) for one, history in zip(wanted, committed, strict=True)]
    return models.CurvesView(experiment=found.id, metric=metric, metrics=sorted(names), curves=[curve for curve in curves if curve.steps])


@dataclass(frozen=True, slots=True)
class _Trained:
    """What the series store has."""

    names: set[str]
    curves: list[models.CurveView]


def _read(store: SeriesStore, runs: Sequence[RunId], metric: str, from_step: int, to_step: int | None, points: int) -> _Trained:
    names: set[str] = set()
    curves: list[models.CurveView] = []
    for run in runs:
        own = store.metrics(run)
        names.update(own)
        if metric not in own:
            continue
        rows = store.query(run, metric, from_step, to_step, points)
        curves.append(
            models.CurveView(
                run=run,
                steps=[step for step, _, _ in rows],
                values=[value if math.isfinite(value) else None for _, value, _ in rows],
                at=[at_s for _, _, at_s in rows],
            )
        )
    return _Trained(names, curves)


def _of_commits(run: RunId, history: History, metric: str, from_step: int, to_step: int | None) -> models.CurveView:
    """Metrics of evaluations are part of commits, whose times the plan does not keep."""
    found = [
        (step, value)
        for step, pairs in history
        if step >= from_step and (to_step is None or step <= to_step)
        for name, value in pairs
        if name == metric
    ]
    return models.CurveView(
        run=run, steps=[step for step, _ in found], values=[value if math.isfinite(value) else None for _, value in found], at=None
    )
