"""Experiments: submit, look, steer."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Query, Request, Response

from gswarm.domain.errors import InvalidInputError, NotFoundError
from gswarm.domain.ids import ExperimentId, RunId
from gswarm.domain.parse import DEFAULT_NAME, ParsedExperiment, experiment_to_dict, parse_experiment_verbose, run_spec_to_dict
from gswarm.domain.plan import Experiment, ExperimentState, RunOp
from gswarm.domain.spec import Goal, Metric
from gswarm.domain.strict_json import check_text, load_json
from gswarm.host.api import models, views
from gswarm.host.api.deps import By, Note, RequestKey, ServicesDep, made
from gswarm.host.api.paging import Cursor, Limit, page
from gswarm.host.api.runs import run_views
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.events import ExperimentOpRequested, ExperimentSubmitted
from gswarm.scheduler.explain import explain_experiment
from gswarm.scheduler.operations import experiment_ops
from gswarm.search.expand import ExpandedRun, expand
from gswarm.search.importance import RUNS_MIN, Trial, importances
from gswarm.search.yaml_file import load_yaml

Name = Annotated[str | None, Query(max_length=63, description="Takes the place of the file's own name.")]
DefaultName = Annotated[str, Query(max_length=63, description="The name if the file gives none.")]
Restorable = Annotated[bool, Query(description="Deleted ones instead, as long as they can be restored.")]
Read = tuple[ParsedExperiment, list[ExpandedRun]]


def read_experiment(body: bytes, content_type: str, name: str | None, default_name: str) -> Read:
    """Parses and expands a body of JSON or YAML.

    Raises:
        InvalidInputError: it is not what an experiment file may be.
        LimitError: it expands to too many runs.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError("the experiment file is not UTF-8 text", "save it as UTF-8") from error
    is_json = content_type.split(";")[0].strip().lower() == "application/json"
    document = load_json(body) if is_json else load_yaml(text)
    check_text(document)
    if name is not None and isinstance(document, dict) and ("experiment" in document or "base" in document):
        document = {**document, "experiment": name}
    parsed = parse_experiment_verbose(document, name or default_name)
    if name not in (None, parsed.spec.name):
        raise InvalidInputError(f"{name!r} is not a name", "use letters, digits, dots, dashes and underscores")
    return parsed, expand(parsed.spec)


async def _read(request: Request, name: str | None, default_name: str) -> Read:
    body = await request.body()
    return await asyncio.to_thread(read_experiment, body, request.headers.get("content-type", ""), name, default_name)


async def submit_experiment(
    request: Request,
    response: Response,
    services: ServicesDep,
    by: By,
    key: RequestKey,
    note: Note,
    name: Name = None,
    default_name: DefaultName = DEFAULT_NAME,
) -> models.ExperimentView:
    """Submit an experiment file (JSON or YAML). A client then checks model and data; runs appear once that is done."""
    parsed, runs = await _read(request, name, default_name)
    event = ExperimentSubmitted(
        request=key, spec=parsed.spec, runs=tuple(run.spec for run in runs), changes=tuple(run.changes for run in runs), by=by
    )
    experiment = ExperimentId(made(await services.loop.submit(event)))
    response.headers["Location"] = f"/api/v1/experiments/{experiment}"
    note.detail = f"made {experiment}"
    return views.experiment_view(services.loop.state, services.loop.state.experiments[experiment])


async def validate_experiment(request: Request, name: Name = None, default_name: DefaultName = DEFAULT_NAME) -> models.ValidationView:
    """Parse and expand an experiment file; nothing is submitted."""
    parsed, runs = await _read(request, name, default_name)
    planned = [models.PlannedRun(changes=dict(run.changes), spec=run_spec_to_dict(run.spec)) for run in runs]
    return models.ValidationView(name=parsed.spec.name, spec=experiment_to_dict(parsed.spec), notes=_notes(parsed), runs=planned)


def _notes(parsed: ParsedExperiment) -> list[str]:
    renamed = [f"{path} is read as {key}" for path, key in parsed.renamed]
    return renamed + [f"{path} means nothing in gswarm and is ignored" for path in parsed.ignored]


async def list_experiments(
    services: ServicesDep, limit: Limit = 100, cursor: Cursor = None, restorable: Restorable = False
) -> models.Page[models.ExperimentView]:
    """Experiments that are not deleted, the newest first."""
    state = services.loop.state
    is_wanted = _is_restorable if restorable else _is_alive
    wanted = [experiment for experiment in reversed(state.experiments.values()) if is_wanted(state, experiment)]
    chosen, following = page(wanted, lambda experiment: experiment.id, limit, cursor)
    return models.Page(items=[views.experiment_view(state, experiment) for experiment in chosen], next_cursor=following)


def _is_alive(_state: ClusterState, experiment: Experiment) -> bool:
    return experiment.state is not ExperimentState.DELETED


def _is_restorable(state: ClusterState, experiment: Experiment) -> bool:
    return experiment.state is ExperimentState.DELETED and RunOp.RESTORE in experiment_ops(state, experiment)


async def get_experiment(services: ServicesDep, experiment: str) -> models.ExperimentView:
    """One experiment, by id or unique name."""
    state = services.loop.state
    return views.experiment_view(state, state.find_experiment(experiment))


async def experiment_runs(services: ServicesDep, experiment: str, limit: Limit = 100, cursor: Cursor = None) -> models.Page[models.RunView]:
    """The runs of one experiment in order of submission, deleted ones too."""
    state = services.loop.state
    found = state.find_experiment(experiment)
    chosen, following = page([state.runs[run] for run in found.runs], lambda run: run.id, limit, cursor)
    return models.Page(items=await run_views(services, chosen), next_cursor=following)


async def experiment_results(services: ServicesDep, experiment: str, metric: str | None = None) -> models.ResultsView:
    """The leaderboard, by the experiment's metric or another (accuracies, rewards and scores: higher is better)."""
    state = services.loop.state
    found = state.find_experiment(experiment)
    known = {name for run in found.runs for _, values in state.runs[run].history[-1:] for name, _ in values}
    if metric is not None and known and metric not in known:
        raise NotFoundError(f"no run of {found.id} has the metric {metric!r}", f"there are: {', '.join(sorted(known))}")
    return views.results_view(state, found, _metric(found, metric))


async def experiment_importance(services: ServicesDep, experiment: str, metric: str | None = None) -> models.ImportanceView:
    """How much of the differences between the runs' best values each parameter explains (Optuna's PED-ANOVA)."""
    state = services.loop.state
    found = state.find_experiment(experiment)
    board = views.results_view(state, found, _metric(found, metric))
    runs = [(state.runs[RunId(row.id)], row.value) for row in board.rows if row.value is not None]
    keys = sorted({key for run, _ in runs for key, _ in run.changes})
    specs = [(run_spec_to_dict(run.spec), value) for run, value in runs]
    trials = [Trial({key: str(spec.get(key)) for key in keys}, value) for spec, value in specs]
    shares = await asyncio.to_thread(importances, trials, is_minimized=board.metric.goal == Goal.MINIMIZE)
    return models.ImportanceView(
        experiment=found.id,
        metric=board.metric,
        runs=len(trials),
        runs_min=RUNS_MIN,
        parameters=[models.ParameterShare(name=name, share=share) for name, share in shares],
    )


def _metric(experiment: Experiment, name: str | None) -> Metric:
    own = experiment.spec.search.metric
    if name is None or name == own.name:
        return own
    higher = any(word in name for word in ("accuracy", "reward", "score", "margin"))
    return Metric(name, Goal.MAXIMIZE if higher else Goal.MINIMIZE)


async def experiment_timeline(services: ServicesDep, experiment: str) -> models.TimelineView:
    """Every commit of every run in step order: which steps, and what the metrics were."""
    state = services.loop.state
    found = state.find_experiment(experiment)
    return models.TimelineView(experiment=found.id, chunks=views.timeline(state, found))


async def experiment_explain(services: ServicesDep, experiment: str) -> models.ExplainView:
    """Why the experiment is where it is."""
    found = services.loop.state.find_experiment(experiment)
    return views.explain_view(found, explain_experiment(services.loop.state, found.id, services.clock()))


async def stop_experiment(services: ServicesDep, by: By, key: RequestKey, experiment: str) -> models.ExperimentView:
    """Stop every run that can be stopped."""
    return await _operate(services, by, key, experiment, RunOp.STOP)


async def resume_experiment(services: ServicesDep, by: By, key: RequestKey, experiment: str) -> models.ExperimentView:
    """Resume every run that can be resumed."""
    return await _operate(services, by, key, experiment, RunOp.RESUME)


async def delete_experiment(services: ServicesDep, by: By, key: RequestKey, experiment: str) -> models.ExperimentView:
    """Delete every run; each can be restored until the sweep."""
    return await _operate(services, by, key, experiment, RunOp.DELETE)


async def restore_experiment(services: ServicesDep, by: By, key: RequestKey, experiment: str) -> models.ExperimentView:
    """Undo the deletion of every run that is not swept yet."""
    return await _operate(services, by, key, experiment, RunOp.RESTORE)


async def _operate(services: ServicesDep, by: str, key: RequestKey, ref: str, op: RunOp) -> models.ExperimentView:
    experiment = services.loop.state.find_experiment(ref)
    await services.loop.submit(ExperimentOpRequested(request=key, experiment=experiment.id, op=op, by=by))
    return views.experiment_view(services.loop.state, services.loop.state.experiments[experiment.id])
