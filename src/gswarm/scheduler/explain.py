"""Why every run, slot and experiment is where it is: the true reason, out of the state that decides.

``code`` is stable for programs, ``text`` is one sentence for people, ``details`` are the facts behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from gswarm.domain.errors import NotFoundError
from gswarm.domain.ids import ExperimentId, RunId, SlotId
from gswarm.domain.plan import ClientState, Experiment, ExperimentState, Grant, GrantPhase, Run, RunState
from gswarm.scheduler.gangs import Reservations, avoids, can_hold, free_slots
from gswarm.scheduler.index import out_of_reach
from gswarm.scheduler.job_index import is_finished
from gswarm.scheduler.jobs import PER_CLIENT_MAX
from gswarm.scheduler.operations import SWEEP
from gswarm.scheduler.state import Plan

NAMED_MAX = 5
"""Runs that a sentence names; the rest is a number."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """``details`` are (name, value as text) pairs."""

    code: str
    text: str
    details: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.text


def explain_run(plan: Plan, run_id: RunId, now_s: float) -> Explanation:
    """Why the run is where it is.

    Raises:
        NotFoundError: there is no such run.
    """
    run = plan.runs.get(run_id)
    if run is None:
        raise NotFoundError(f"there is no run {run_id!r}", "gswarm run list shows the runs")
    at = f"step {run.position} of {run.total_steps}"
    match run.state:
        case RunState.QUEUED:
            return _queued(plan, run, at)
        case RunState.RUNNING:
            return _running(plan, run)
        case RunState.STOPPING:
            waits = _open_text(run.grants[0])
            return Explanation("stopping", f"stop was asked for; it stops once {waits}", _grant_details(run.grants[0]))
        case RunState.STOPPED:
            return Explanation("stopped", f"it was stopped at {at}; resume continues from there")
        case RunState.COMPLETED:
            return Explanation("completed", f"it has trained all its {run.total_steps} steps")
        case RunState.FAILED:
            assert run.failure is not None
            text = f"it failed at {at}: {run.failure.message} ({run.failure.code})"
            return Explanation("failed", text, (("failure", run.failure.code), ("attempts", str(run.attempts + 1))))
        case RunState.PRUNED:
            return Explanation("pruned", f"the search ended it at {at}; a clone can go on")
        case RunState.DELETING:
            left_s = max(plan.timers.get(SWEEP + run.id, now_s) - now_s, 0.0)
            return Explanation("deleting", f"it was deleted and can be restored for another {left_s:.0f} s", (("left_s", f"{left_s:.0f}"),))
        case RunState.DELETED:
            return Explanation("deleted", "it was deleted and its checkpoints are gone")
        case _:
            assert_never(run.state)


def explain_slot(plan: Plan, slot_id: SlotId, now_s: float) -> Explanation:
    """What the slot does, or why it does nothing.

    Raises:
        NotFoundError: there is no such slot.
    """
    slot = plan.slots.get(slot_id)
    if slot is None:
        raise NotFoundError(f"there is no slot {slot_id!r}", "gswarm client list shows clients and slots")
    client = plan.clients[slot.client]
    if slot.queue:
        run_id, generation = slot.queue[0]
        grant = next(grant for grant in plan.runs[run_id].grants if grant.generation == generation)
        ahead = f", then run {slot.queue[1][0]}" if len(slot.queue) > 1 else ""
        text = f"it trains run {run_id}, steps {grant.from_step} to {grant.to_step}, granted {now_s - grant.granted_at_s:.0f} s ago{ahead}"
        return Explanation("training", text, _grant_details(grant))
    if client.state is not ClientState.READY:
        return Explanation(f"client_{client.state}", f"client {client.name} is {client.state}: it gets no work")
    if slot.outsider:
        text = f"processes of {slot.outsider} use its device: it gets no work until they have left"
        return Explanation("outsiders", text, (("accounts", slot.outsider),))
    gang = Reservations(plan).of(client.name)
    if gang is not None:
        size = plan.experiments[gang].spec.resources.gpus_per_run
        text = f"it is kept free for a run of experiment {gang}, which needs {size} slots of {client.name} at the same time"
        return Explanation("kept_for_gang", text, (("experiment", gang),))
    if not plan.index.order:
        return Explanation("nothing_waits", "no run is waiting for a slot")
    return Explanation("none_fits", "the runs that wait avoid it after failing on it, or wait for a commit on another slot")


def explain_experiment(plan: Plan, experiment_id: ExperimentId, now_s: float) -> Explanation:
    """Why the experiment is in its state.

    Raises:
        NotFoundError: there is no such experiment.
    """
    experiment = plan.experiments.get(experiment_id)
    if experiment is None:
        raise NotFoundError(f"there is no experiment {experiment_id!r}", "gswarm experiment list shows the experiments")
    match experiment.state:
        case ExperimentState.PREPARING:
            return _preparing(plan, experiment, now_s)
        case ExperimentState.REJECTED:
            assert experiment.failure is not None
            return Explanation("rejected", f"it was rejected: {experiment.failure.message}", (("failure", experiment.failure.code),))
        case ExperimentState.ACTIVE:
            return Explanation("active", f"its runs are {_states(plan, experiment)}", (("max_skew", str(experiment.max_skew)),))
        case ExperimentState.IDLE:
            return Explanation("idle", f"nothing of it is left to train: its runs are {_states(plan, experiment)}")
        case ExperimentState.DELETED:
            return Explanation("deleted", "it was deleted")
        case _:
            assert_never(experiment.state)


def _queued(plan: Plan, run: Run, at: str) -> Explanation:
    experiment = plan.experiments[run.experiment]
    size = experiment.spec.resources.gpus_per_run
    if run.grants:
        return Explanation(
            "resumes", f"it was resumed while stopping and goes on once {_open_text(run.grants[0])}", _grant_details(run.grants[0])
        )
    if not plan.index.ready:
        return _no_client(plan)
    keepers = out_of_reach(plan, run)
    if keepers:
        text = f"its checkpoint is only with {' and '.join(keepers)}, not connected now; it goes on from {at} when that is back"
        return Explanation("out_of_reach", text, (("clients", ",".join(keepers)),))
    if size > 1:
        return _gang(plan, run, size)
    if run.attempts and all(avoids(plan, run, slot_id) for slot_id in plan.index.vacant) and plan.index.vacant:
        return Explanation("avoids", f"it failed on the free slots ({', '.join(run.avoid_slots)}) and waits for another one")
    before = _ahead_of(plan, run)
    if not before:
        return Explanation("next", f"it waits at {at} and is next; {_why_not_at_once(plan, run)}")
    named = ", ".join(before[:NAMED_MAX]) + (f" and {len(before) - NAMED_MAX} more" if len(before) > NAMED_MAX else "")
    text = f"it waits for its turn at {at}, behind {named}"
    return Explanation("turn", text, (("ahead", str(len(before))), ("priority", str(experiment.spec.resources.priority))))


def _why_not_at_once(plan: Plan, run: Run) -> str:
    free, slots = len(plan.index.vacant), len(plan.index.ready)
    if not free:
        return f"all {slots} slots are taken"
    failed = ", or it failed there" if run.avoid_slots else ""
    return f"{free} of {slots} slots are free, but kept for a run that needs several at the same time{failed}"


def _no_client(plan: Plan) -> Explanation:
    draining = sorted(name for name, client in plan.clients.items() if client.state is ClientState.DRAINING)
    details = (("clients", str(len(plan.clients))), ("draining", str(len(draining))))
    occupied = [slot for slot in plan.slots.values() if slot.outsider and plan.clients[slot.client].state is ClientState.READY]
    if occupied:
        accounts = ", ".join(sorted({slot.outsider for slot in occupied})[:NAMED_MAX])
        return Explanation(
            "outsiders", f"processes of {accounts} use the devices of all ready slots; it starts once they have left", details
        )
    if not draining:
        return Explanation("no_client", "no client is ready; it starts as soon as one connects", details)
    named = " and ".join(draining[:NAMED_MAX]) + (f" and {len(draining) - NAMED_MAX} more" if len(draining) > NAMED_MAX else "")
    verb = "is" if len(draining) == 1 else "are"
    return Explanation("no_client", f"no client is ready: {named} {verb} draining; gswarm client resume gives them work again", details)


def _gang(plan: Plan, run: Run, size: int) -> Explanation:
    able = can_hold(plan, size)
    if not able:
        return Explanation(
            "no_client_for_gang", f"it needs {size} slots of one client, and no ready client has so many", (("slots", str(size)),)
        )
    client = next((name for name, experiment in Reservations(plan).held().items() if experiment == run.experiment), able[0])
    free = len(free_slots(plan, client))
    text = f"it needs {size} slots of one client at the same time; {free} of {client} are free and kept for it"
    return Explanation("gang", text, (("slots", str(size)), ("client", client), ("free", str(free))))


def _ahead_of(plan: Plan, run: Run) -> list[str]:
    """Waiting runs whose turn comes earlier: of experiments before this one, and of its own in the policy's order."""
    own = plan.index.order_key(plan.experiments[run.experiment])
    before = [
        waiting
        for key in plan.index.order
        if key < own
        for waiting in plan.experiments[key[-1]].runs
        if waiting in plan.index.places and not plan.runs[waiting].grants
    ]
    pool = plan.index.pools[run.experiment]
    for heap in (pool.fresh, pool.movable):
        keys = heap.keys()
        mine = keys.get(run.id)
        before += sorted((other for other in keys if mine is None or keys[other] < mine), key=lambda other: keys[other])
        if mine is not None:
            break
    return [str(one) for one in before]


def _running(plan: Plan, run: Run) -> Explanation:
    active = next((grant for grant in run.grants if grant.phase is not GrantPhase.TRAINED), None)
    if active is None:
        last = run.grants[-1]
        return Explanation("committing", f"it goes on once {_open_text(last)}", _grant_details(last))
    slot = plan.slots[active.slots[0]]
    if slot.queue[0] != (run.id, active.generation):
        what = (
            "was called back for another slot"
            if active.phase is GrantPhase.STOPPING
            else f"waits on {slot.spec.id} behind run {slot.queue[0][0]}"
        )
        return Explanation("ahead", f"it has its next grant, which {what}", _grant_details(active))
    where = ", ".join(active.slots)
    return Explanation("training", f"it trains on {where}, steps {active.from_step} to {active.to_step}", _grant_details(active))


def _preparing(plan: Plan, experiment: Experiment, now_s: float) -> Explanation:
    job = next((job for job in plan.jobs.values() if job.experiment == experiment.id and job.run is None and not is_finished(job)), None)
    since_s = now_s - experiment.created_at_s
    if job is None or job.client is None:
        waits = f"model and data wait to be checked for {since_s:.0f} s"
        if any(client.state is ClientState.READY for client in plan.clients.values()):
            return Explanation("clients_busy", f"{waits}: every ready client has {PER_CLIENT_MAX} jobs", (("jobs", str(PER_CLIENT_MAX)),))
        return Explanation("no_client", f"{waits}: no client is ready")
    text = f"client {job.client} checks and prepares model and data, for {since_s:.0f} s now"
    return Explanation("preparing", text, (("client", job.client), ("job", job.id)))


def _states(plan: Plan, experiment: Experiment) -> str:
    counts = {state: sum(plan.runs[run].state is state for run in experiment.runs) for state in RunState}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none"


def _open_text(grant: Grant) -> str:
    if grant.phase is GrantPhase.TRAINED:
        return f"{grant.client} has committed its checkpoint of step {grant.to_step}"
    return f"{grant.client} has ended its grant of steps {grant.from_step} to {grant.to_step}"


def _grant_details(grant: Grant) -> tuple[tuple[str, str], ...]:
    return (
        ("client", grant.client),
        ("slot", grant.slots[0]),
        ("generation", str(grant.generation)),
        ("from_step", str(grant.from_step)),
        ("to_step", str(grant.to_step)),
        ("phase", grant.phase.value),
    )
