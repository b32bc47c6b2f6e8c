"""A new run out of a parent's, cold or warm. Everything is checked before anything happens."""

from __future__ import annotations

from dataclasses import dataclass

from gswarm.domain.errors import ConflictError, InvalidInputError, NotFoundError
from gswarm.domain.ids import RunId
from gswarm.domain.plan import Checkpoint, Experiment, ExperimentState, Run, RunOp, RunState
from gswarm.domain.spec import FinetuningType, RunSpec
from gswarm.domain.steps import check_chunks, check_counts, steps_per_epoch, total_steps
from gswarm.scheduler import experiments
from gswarm.scheduler.events import RunCloneRequested
from gswarm.scheduler.lifecycle import possible_ops, require
from gswarm.scheduler.retention import best_of
from gswarm.scheduler.state import Plan, Turn, refresh_experiment

FIXED_KEYS = (
    "model_name_or_path",
    "dataset",
    "eval_dataset",
    "val_size",
    "max_samples",
    "template",
    "cutoff_len",
    "train_on_prompt",
    "packing",
    "stage",
)
"""What a clone shares with its parent: model and data, prepared and checked once."""


@dataclass(frozen=True, slots=True)
class PlannedClone:
    """A clone that is possible now: where it would begin, and how long it would be."""

    parent: Run
    start: Checkpoint | None
    first_step: int
    steps_per_epoch: int
    total_steps: int


def plan_clone(plan: Plan, event: RunCloneRequested) -> PlannedClone:
    """What the request would make. Changes nothing.

    Raises:
        NotFoundError: there is no such parent.
        ConflictError: the parent is deleted, or has no such checkpoint.
        InvalidInputError: the change is not possible for a clone, or leaves nothing to train.
        LimitError: the cluster has too many runs, or the clone would have too many steps.
    """
    parent = plan.runs.get(event.parent)
    if parent is None:
        raise NotFoundError(f"there is no run {event.parent!r}", "gswarm run list shows the runs")
    require(parent.id, parent.state, RunOp.CLONE)
    experiment = plan.experiments[parent.experiment]
    if experiment.state is ExperimentState.DELETED:
        raise ConflictError(f"experiment {experiment.id} is deleted", "restore the run first", possible_ops(parent.state))
    _check_keys(parent.spec, event.spec)
    epoch_steps, run_steps = steps_per_epoch(event.spec, parent.train_rows), total_steps(event.spec, parent.train_rows)
    check_counts(epoch_steps, run_steps)
    check_chunks(experiment.spec.chunks, epoch_steps, run_steps)
    start = None
    if event.warm_start is not None:
        start = _start(parent, experiment, event.warm_start)
        _check_warm(parent.spec, event.spec)
    first_step = own_step(parent, start, event.spec) if start is not None else 0
    if first_step >= run_steps:
        raise InvalidInputError(
            f"nothing left to train: the clone would begin at step {first_step} of {run_steps}",
            "raise num_train_epochs or max_steps, or choose an earlier step",
        )
    experiments.check_room(plan, 1)
    return PlannedClone(parent, start, first_step, epoch_steps, run_steps)


def cloned(turn: Turn, event: RunCloneRequested) -> str:
    """Queue the clone. Its data position continues in samples; its schedule is its own configuration's at that position.

    Raises what ``plan_clone`` raises.
    """
    planned = plan_clone(turn.plan, event)
    parent = planned.parent
    experiment = turn.plan.experiments[parent.experiment]
    clone = Run(
        id=RunId(f"r{turn.plan.count('runs')}"),
        name=f"{parent.name}.c{turn.plan.index.clones.get(parent.id, 0) + 1}",
        experiment=experiment.id,
        spec=event.spec,
        state=RunState.QUEUED,
        steps_per_epoch=planned.steps_per_epoch,
        total_steps=planned.total_steps,
        base=parent.base,
        data=parent.data,
        train_rows=parent.train_rows,
        eval_rows=parent.eval_rows,
        start=planned.start,
        first_step=planned.first_step,
        position=planned.first_step,
        parent=parent.id,
        warm_start=event.warm_start,
        changes=event.changes,
        created_at_s=turn.now_s,
    )
    experiments.add_run(turn, experiment, clone)
    refresh_experiment(turn, experiment)
    return clone.id


def own_step(parent: Run, start: Checkpoint, spec: RunSpec) -> int:
    """The clone's own step at which as many rows are behind it as at the parent's checkpoint."""
    return start.step * parent.spec.samples_per_step // spec.samples_per_step


def _check_keys(before: RunSpec, after: RunSpec) -> None:
    changed = [name for name in FIXED_KEYS if getattr(before, name) != getattr(after, name)]
    if changed:
        raise InvalidInputError(f"a clone cannot change {', '.join(changed)}", "submit a new experiment for another model or other data")
    if after.samples_per_step < 1:
        raise InvalidInputError("a step of the clone would consume no rows", "set batch size and gradient accumulation to at least 1")


def _check_warm(before: RunSpec, after: RunSpec) -> None:
    """Other shapes or names of every trained weight would leave nothing of the parent to start from."""
    is_lora = after.finetuning_type is FinetuningType.LORA
    if before.finetuning_type is not after.finetuning_type or (is_lora and before.lora_rank != after.lora_rank):
        raise InvalidInputError(
            "a warm clone cannot change finetuning_type or lora_rank: no weight of the parent would fit", "clone it cold"
        )


def _start(parent: Run, experiment: Experiment, wanted: str) -> Checkpoint:
    kept = ", ".join(str(checkpoint.step) for checkpoint in parent.checkpoints)
    hint = f"kept steps: {kept}" if kept else "it has no checkpoint yet: clone it cold, or wait for its first chunk"
    match wanted:
        case "latest":
            found = parent.latest
        case "best":
            found = best_of(parent.checkpoints, experiment.spec.search.metric)
            if found is None and kept:
                hint = f"no kept checkpoint carries {experiment.spec.search.metric.name}; {hint}"
        case _ if wanted.isascii() and wanted.isdecimal():
            # Compared as text: a number of thousands of digits is no int to Python.
            step = wanted.lstrip("0") or "0"
            found = next((one for one in parent.checkpoints if str(one.step) == step), None)
        case _:
            raise InvalidInputError(f"warm_start is {wanted!r}", "it is latest, best or a step")
    if found is None:
        raise ConflictError(f"run {parent.id} has no checkpoint {wanted!r} to start from", hint, possible_ops(parent.state))
    return found
