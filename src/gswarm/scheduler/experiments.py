"""From a submitted experiment to its runs."""

from __future__ import annotations

import math
from dataclasses import asdict

from gswarm.domain.errors import ConflictError, GswarmError, InvalidInputError, LimitError
from gswarm.domain.ids import ExperimentId, RunId
from gswarm.domain.plan import Experiment, ExperimentState, Failure, JobKind, Run, RunSize, RunState
from gswarm.domain.spec import ExperimentSpec, Resources
from gswarm.domain.steps import check_chunks, check_counts, chunk_count
from gswarm.scheduler import jobs
from gswarm.scheduler.events import ExperimentSubmitted
from gswarm.scheduler.operations import living_namesake
from gswarm.scheduler.skew import auto_skew
from gswarm.scheduler.state import Plan, Turn, activate

RUNS_MAX = 200_000
"""Runs of a cluster, ended ones included, clones too."""


def submitted(turn: Turn, event: ExperimentSubmitted) -> str:
    """Ask a client to check it and to prepare model and data; nothing is queued before that is done.

    Raises:
        InvalidInputError: it has no runs, or ``changes`` does not fit them.
        ConflictError: another experiment has the name.
        LimitError: more runs than a cluster holds, or too many open jobs.
    """
    if not event.runs:
        raise InvalidInputError(f"experiment {event.spec.name!r} has no runs", "check search.parameters")
    if len(event.changes) != len(event.runs):
        raise InvalidInputError(f"there are {len(event.runs)} runs, but changes for {len(event.changes)}")
    _check_resources(event.spec.resources)
    namesake = living_namesake(turn.plan, event.spec.name)
    if namesake is not None:
        raise ConflictError(
            f"experiment {namesake.id} is named {event.spec.name!r} already", "choose another name with --name, or delete that one"
        )
    check_room(turn.plan, len(event.runs))
    jobs.check_room(turn.plan)
    experiment = Experiment(
        id=ExperimentId(f"e{turn.plan.count('experiments')}"),
        spec=event.spec,
        state=ExperimentState.PREPARING,
        planned=event.runs,
        planned_changes=event.changes,
        created_at_s=turn.now_s,
    )
    turn.plan.experiments[experiment.id] = experiment
    turn.plan.index.add_experiment(experiment)
    jobs.create(turn, JobKind.PREPARE, experiment=experiment.id)
    return experiment.id


def _check_resources(resources: Resources) -> None:
    if resources.gpus_per_run < 1 or not 0 < resources.weight < math.inf or (resources.max_skew is not None and resources.max_skew < 1):
        raise InvalidInputError(
            "gpus_per_run and max_skew must be at least 1, and weight above 0", f"resources are {asdict(resources)}; correct them"
        )


def check_room(plan: Plan, more: int) -> None:
    """Raises:
    LimitError: the cluster would hold more than ``RUNS_MAX`` runs.
    """
    if len(plan.runs) + more > RUNS_MAX:
        raise LimitError(f"{more} more runs would exceed the limit of {RUNS_MAX} runs", "set search.run_cap")


def prepared(turn: Turn, experiment: Experiment, sizes: tuple[RunSize, ...], failure: Failure | None) -> None:
    """Queue the runs, or reject the experiment with the reason."""
    failure = failure or _misfit(experiment, sizes)
    if failure is not None:
        experiment.state = ExperimentState.REJECTED
        experiment.failure = failure
        experiment.ended_at_s = turn.now_s
        return
    for number, (spec, changes, size) in enumerate(zip(experiment.planned, experiment.planned_changes, sizes, strict=True), 1):
        run = Run(
            id=RunId(f"r{turn.plan.count('runs')}"),
            name=f"{experiment.spec.name}-{number}",
            experiment=experiment.id,
            spec=spec,
            state=RunState.QUEUED,
            steps_per_epoch=size.steps_per_epoch,
            total_steps=size.total_steps,
            base=size.base,
            data=size.data,
            train_rows=size.train_rows,
            eval_rows=size.eval_rows,
            changes=changes,
            created_at_s=turn.now_s,
        )
        add_run(turn, experiment, run)
    experiment.planned, experiment.planned_changes = (), ()
    experiment.max_skew = _skew_of(turn, experiment.spec, sizes)
    activate(turn, experiment)


def add_run(turn: Turn, experiment: Experiment, run: Run) -> None:
    turn.plan.runs[run.id] = run
    experiment.runs.append(run.id)
    turn.plan.index.add_run(run)


def _misfit(experiment: Experiment, sizes: tuple[RunSize, ...]) -> Failure | None:
    """Why the runs cannot be cut into steps and chunks as asked; ``None`` if they can."""
    if len(sizes) != len(experiment.planned):
        return Failure("invalid_input", f"{len(experiment.planned)} runs were to be prepared, but {len(sizes)} were")
    for number, size in enumerate(sizes, 1):
        try:
            if size.total_steps < 1 or size.steps_per_epoch < 1:
                raise InvalidInputError("there is nothing to train", "check num_train_epochs, max_steps and the data set")
            check_counts(size.steps_per_epoch, size.total_steps, size.train_rows, size.eval_rows)
            check_chunks(experiment.spec.chunks, size.steps_per_epoch, size.total_steps)
        except GswarmError as error:
            return Failure(error.code, f"run {experiment.spec.name}-{number}: {error}")
    return None


def _skew_of(turn: Turn, spec: ExperimentSpec, sizes: tuple[RunSize, ...]) -> int:
    if spec.resources.max_skew is not None:
        return spec.resources.max_skew
    chunks = [chunk_count(spec.chunks, size.steps_per_epoch, size.total_steps) for size in sizes]
    slots = len(turn.plan.index.ready) // spec.resources.gpus_per_run
    return auto_skew(chunks, slots)
