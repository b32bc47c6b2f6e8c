"""What people ask of runs and experiments while they train: stop, resume, delete, restore; and the timer that ends a deletion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gswarm.domain.errors import ConflictError, InvalidInputError, NotFoundError
from gswarm.domain.ids import RunId
from gswarm.domain.plan import Experiment, ExperimentState, Failure, Job, Run, RunOp, RunState
from gswarm.scheduler import leases
from gswarm.scheduler.effects import StartTimer
from gswarm.scheduler.events import ExperimentOpRequested, RunOpRequested, TimerFired
from gswarm.scheduler.lifecycle import possible_ops, require, restored_state
from gswarm.scheduler.state import GONE_EXPERIMENTS, Plan, Turn

SWEEP = "sweep:"


def on_run(turn: Turn, event: RunOpRequested) -> str:
    """Raises:
    NotFoundError: there is no such run.
    ConflictError: the run's state does not allow it.
    InvalidInputError: the operation is a clone, which has an event of its own.
    """
    run = turn.plan.runs.get(event.run)
    if run is None:
        raise NotFoundError(f"there is no run {event.run!r}", "gswarm run list shows the runs")
    if event.op is RunOp.CLONE:
        raise InvalidInputError("a clone needs the new run's configuration", "use gswarm run clone")
    require(run.id, run.state, event.op)
    if event.op is RunOp.RESTORE:
        check_name(turn.plan, turn.plan.experiments[run.experiment])
    apply(turn, run, event.op)
    return run.id


def on_experiment(turn: Turn, event: ExperimentOpRequested) -> str:
    """Every run for which it is possible.

    Raises:
        NotFoundError: there is no such experiment.
        ConflictError: it is possible for none of its runs.
        InvalidInputError: the operation is a clone.
    """
    experiment = turn.plan.experiments.get(event.experiment)
    if experiment is None:
        raise NotFoundError(f"there is no experiment {event.experiment!r}", "gswarm experiment list shows the experiments")
    if event.op is RunOp.CLONE:
        raise InvalidInputError("only a run can be cloned, not a whole experiment", "use gswarm run clone")
    possible = experiment_ops(turn.plan, experiment)
    if event.op not in possible:
        hint = f"possible now: {', '.join(possible)}" if possible else "nothing can be done with it any more"
        raise ConflictError(f"cannot {event.op} experiment {experiment.id}: it is {experiment.state}", hint, possible)
    if event.op is RunOp.RESTORE:
        check_name(turn.plan, experiment)
    for run in [turn.plan.runs[run_id] for run_id in experiment.runs]:
        if event.op in possible_ops(run.state):
            apply(turn, run, event.op)
    if event.op is RunOp.DELETE:
        experiment.state = ExperimentState.DELETED
        experiment.ended_at_s = turn.now_s
        experiment.planned, experiment.planned_changes = (), ()
        cancel_jobs(turn, (job for job in _open_jobs(turn.plan) if job.experiment == experiment.id and job.run is None))
    return experiment.id


def experiment_ops(plan: Plan, experiment: Experiment) -> tuple[RunOp, ...]:
    """The operations that are possible for at least one run, and whether the experiment itself can be deleted."""
    possible = {op for run_id in experiment.runs for op in possible_ops(plan.runs[run_id].state)} - {RunOp.CLONE}
    if experiment.state is ExperimentState.DELETED:
        possible &= {RunOp.RESTORE}
    else:
        possible.add(RunOp.DELETE)
    return tuple(op for op in RunOp if op in possible)


def apply(turn: Turn, run: Run, op: RunOp) -> None:
    """Do to the run what the lifecycle table says. The caller has made sure that its state allows it."""
    match op:
        case RunOp.STOP:
            turn.move(run, RunState.STOPPING if run.grants else RunState.STOPPED)
            leases.stop(turn, run, run.grants)
        case RunOp.RESUME:
            run.attempts, run.avoid_slots, run.failure = 0, (), None
            turn.move(run, RunState.QUEUED)
            leases.settle(turn, run)
        case RunOp.DELETE:
            _delete(turn, run)
        case RunOp.RESTORE:
            _restore(turn, run)
        case RunOp.CLONE:
            raise InvalidInputError("a clone needs the new run's configuration", "use gswarm run clone")


def fired(turn: Turn, event: TimerFired) -> None:
    """The undo window of a deletion is over. A timer of a deletion that was undone does nothing, one that came too early runs on."""
    due_at_s = turn.plan.timers.get(event.key)
    if due_at_s is None or not event.key.startswith(SWEEP):
        return
    if turn.now_s < due_at_s:
        turn.emit(StartTimer(event.key, due_at_s))
        return
    del turn.plan.timers[event.key]
    run = turn.plan.runs[RunId(event.key.removeprefix(SWEEP))]
    turn.move(run, RunState.DELETED)
    run.checkpoints, run.start = [], None
    cancel_jobs(turn, (job for job in _open_jobs(turn.plan) if job.run == run.id))
    leases.settle(turn, run)
    turn.sweep = True


def check_name(plan: Plan, experiment: Experiment) -> None:
    """Raises:
    ConflictError: the experiment was deleted and another one has taken its name.
    """
    if experiment.state in GONE_EXPERIMENTS and (other := living_namesake(plan, experiment.spec.name)) is not None:
        raise ConflictError(f"experiment {other.id} has the name {experiment.spec.name!r} now", "delete that one first")


def living_namesake(plan: Plan, name: str) -> Experiment | None:
    """The experiment that has the name: one that is neither rejected nor deleted."""
    named = (plan.experiments[experiment_id] for experiment_id in plan.index.experiment_names.get(name, ()))
    return next((experiment for experiment in named if experiment.state not in GONE_EXPERIMENTS), None)


def cancel_jobs(turn: Turn, jobs: Iterable[Job]) -> None:
    """End open jobs whose subject is gone; a late result is refused."""
    for job in list(jobs):
        turn.plan.index.jobs.put(replace(job, failure=Failure("conflict", "what it was for has been deleted")))


def _open_jobs(plan: Plan) -> list[Job]:
    return [plan.jobs[job_id] for job_id in plan.index.jobs.open_ids()]


def _delete(turn: Turn, run: Run) -> None:
    run.state_before_delete = run.state
    turn.move(run, RunState.DELETING)
    leases.close(turn, run, 0)
    leases.drop(turn, run)
    leases.settle(turn, run)
    key = SWEEP + run.id
    turn.plan.timers[key] = turn.now_s + turn.plan.undo_window_s
    turn.emit(StartTimer(key, turn.plan.timers[key]))


def _restore(turn: Turn, run: Run) -> None:
    turn.move(run, restored_state(run.state_before_delete))
    run.state_before_delete = None
    turn.plan.timers.pop(SWEEP + run.id, None)
    experiment = turn.plan.experiments[run.experiment]
    if experiment.state is ExperimentState.DELETED:
        experiment.state = ExperimentState.IDLE
    leases.settle(turn, run)
