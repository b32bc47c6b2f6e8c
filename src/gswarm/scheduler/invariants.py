"""What must be true of every state. Checked after each step in tests, and when a host opens its journal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from gswarm.domain.errors import InvariantError
from gswarm.domain.plan import ClientState, ExperimentState, GrantPhase, Run, RunState
from gswarm.scheduler.index import OPEN_GRANTS_MAX, QUEUE_MAX, Index
from gswarm.scheduler.lifecycle import LIVE
from gswarm.scheduler.operations import SWEEP
from gswarm.scheduler.state import Plan


def check(plan: Plan) -> None:
    """Raises:
    InvariantError: the state is impossible; the message lists up to ten reasons.
    """
    found = [reason for part in (_runs, _slots, _clients, _experiments, _jobs, _timers, _index) for reason in part(plan)]
    if found:
        raise InvariantError(f"the plan is impossible: {'; '.join(found[:10])}", "keep the journal and report this")


def _runs(plan: Plan) -> Iterator[str]:
    listed = {run_id: experiment.id for experiment in plan.experiments.values() for run_id in experiment.runs}
    for run_id, run in plan.runs.items():
        if run.id != run_id or listed.get(run_id) != run.experiment:
            yield f"run {run_id} is filed wrongly"
        yield from (f"run {run_id} {reason}" for reason in (*_facts(run), *_grants(plan, run)))


def _facts(run: Run) -> Iterator[str]:
    if not 0 <= run.first_step <= run.position <= run.total_steps:
        yield f"is at {run.position} of {run.total_steps}, first {run.first_step}"
    steps = [checkpoint.step for checkpoint in run.checkpoints]
    if any(first >= second for first, second in pairwise(steps)):
        yield f"has checkpoints out of order: {steps}"
    history = [step for step, _ in run.history]
    if any(first >= second for first, second in pairwise(history)):
        yield f"has a history out of order: {history}"
    deleted = run.state is RunState.DELETED
    if deleted and (run.checkpoints or run.start is not None):
        yield "is deleted and keeps checkpoints"
    if not deleted and run.position > run.first_step and (not steps or steps[-1] != run.position):
        yield f"continues at {run.position}, but its newest checkpoint is at {steps[-1:]}"
    if (run.state is RunState.COMPLETED) != (run.position == run.total_steps) and run.state not in {RunState.DELETING, RunState.DELETED}:
        yield f"is {run.state} at {run.position} of {run.total_steps}"
    if run.state is RunState.FAILED and run.failure is None:
        yield "has failed without a reason"
    if (run.state is RunState.DELETING) and run.state_before_delete is None:
        yield "is being deleted and forgot what it was"


def _grants(plan: Plan, run: Run) -> Iterator[str]:
    grants = run.grants
    allowed = {RunState.RUNNING, RunState.STOPPING, RunState.QUEUED}
    if grants and run.state not in allowed:
        yield f"is {run.state} and has open grants"
    if not grants and run.state in {RunState.RUNNING, RunState.STOPPING}:
        yield f"is {run.state} without a grant"
    if len(grants) > OPEN_GRANTS_MAX or sum(grant.phase is not GrantPhase.TRAINED for grant in grants) > QUEUE_MAX:
        yield f"has {len(grants)} open grants"
    if grants and grants[0].from_step != run.position:
        yield f"is at {run.position}, but its oldest grant begins at {grants[0].from_step}"
    for first, second in pairwise(grants):
        if second.from_step != first.to_step or second.generation <= first.generation:
            yield f"has grants that do not follow each other: {first.generation} and {second.generation}"
        if second.slots != first.slots:
            yield f"is granted on {first.slots} and {second.slots} at once"
        if second.phase is GrantPhase.TRAINED and first.phase is not GrantPhase.TRAINED:
            yield f"trained {second.generation} before {first.generation}"
    for grant in grants:
        if grant.run != run.id or grant.generation > run.generation or not grant.from_step < grant.to_step <= run.total_steps:
            yield f"has an impossible grant {grant.generation}"
        if run.state is RunState.STOPPING and grant.phase is GrantPhase.OPEN:
            yield f"is stopping, but grant {grant.generation} was not told"
        if plan.clients[grant.client].state is ClientState.LOST:
            yield f"has grant {grant.generation} on {grant.client}, which is lost"
        if len(set(grant.slots)) != plan.experiments[run.experiment].spec.resources.gpus_per_run:
            yield f"needs more or fewer slots than {grant.slots}"
        for slot_id in grant.slots:
            slot = plan.slots.get(slot_id)
            queued = slot is not None and slot.client == grant.client and slot.queue.count((run.id, grant.generation))
            if slot is None or queued != (0 if grant.phase is GrantPhase.TRAINED else 1):
                yield f"has grant {grant.generation} on slot {slot_id}, whose queue says otherwise"


def _slots(plan: Plan) -> Iterator[str]:
    for slot_id, slot in plan.slots.items():
        if slot.spec.id != slot_id or slot_id not in plan.clients[slot.client].slots:
            yield f"slot {slot_id} is filed wrongly"
        if len(slot.queue) > QUEUE_MAX or len(set(slot.queue)) != len(slot.queue):
            yield f"slot {slot_id} has the queue {slot.queue}"
        for run_id, generation in slot.queue:
            grants = plan.runs[run_id].grants
            if not any(grant.generation == generation and slot_id in grant.slots for grant in grants):
                yield f"slot {slot_id} trains grant {generation} of run {run_id}, which is not open"


def _clients(plan: Plan) -> Iterator[str]:
    for name, client in plan.clients.items():
        if client.name != name or any(slot_id not in plan.slots for slot_id in client.slots):
            yield f"client {name} is filed wrongly"


def _experiments(plan: Plan) -> Iterator[str]:
    for experiment in plan.experiments.values():
        alive = any(plan.runs[run_id].state in LIVE for run_id in experiment.runs)
        if alive != (experiment.state is ExperimentState.ACTIVE):
            yield f"experiment {experiment.id} is {experiment.state}, but {'some' if alive else 'no'} run of it is live"
        if experiment.service_s < 0 or experiment.max_skew < 1:
            yield f"experiment {experiment.id} has impossible numbers"


def _jobs(plan: Plan) -> Iterator[str]:
    for job in plan.jobs.values():
        if job.result_json is not None and job.failure is not None:
            yield f"job {job.id} has both succeeded and failed"
        open_on = job.client if job.result_json is None and job.failure is None else None
        if open_on is not None and plan.clients[open_on].state is ClientState.LOST:
            yield f"job {job.id} is with {open_on}, which is lost"


def _timers(plan: Plan) -> Iterator[str]:
    deleting = {SWEEP + run.id for run in plan.runs.values() if run.state is RunState.DELETING}
    if deleting != set(plan.timers):
        yield f"timers {sorted(set(plan.timers) ^ deleting)} do not fit the deletions"


def _index(plan: Plan) -> Iterator[str]:
    """The derived index must be what a fresh one would be."""
    kept, fresh = plan.index.content(), Index(plan).content()
    yield from (f"the index of {name} is {kept[name]!r}, not {fresh[name]!r}" for name in fresh if kept[name] != fresh[name])
