"""Bounds that every grant keeps: nobody gets a slot twice, priorities and shares hold, no run gets too far ahead of its siblings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gswarm.domain.ids import ClientName, ExperimentId, RunId, SlotId
from gswarm.domain.plan import Experiment, Grant, GrantPhase, Run
from gswarm.domain.steps import chunks_done, next_chunk_end
from gswarm.scheduler.effects import Effect, SendGrant
from gswarm.scheduler.index import expected_step_s
from gswarm.scheduler.state import Plan
from gswarm.simulator.reasons import kept_for_gangs, may_train_on, needs, waits_anywhere

AHEAD_MAX = 2
"""Grants that a slot may have at once."""


class Fairness:
    """Looks at the plan after each event, with the grants that the event led to."""

    def __init__(self) -> None:
        self._generations: dict[RunId, int] = {}
        self._last: dict[SlotId, RunId] = {}

    def check(self, plan: Plan, effects: Sequence[Effect]) -> Iterator[tuple[str, str]]:
        """(checker, what is wrong)."""
        yield from (("leases", text) for text in _leases(plan))
        grants = [effect.grant for effect in effects if isinstance(effect, SendGrant)]
        # What an experiment has been charged in the end is seen best at its last grant.
        last = {plan.runs[grant.run].experiment: grant for grant in grants}
        # Where a gang has begun, what is kept for the next one now may have been free for all before.
        kept = {} if any(len(grant.slots) > 1 for grant in grants) else kept_for_gangs(plan)
        yield from (("fair share", text) for grant in last.values() for text in _shares(plan, grant, kept))
        for grant in grants:
            yield from (("leases", text) for text in self._is_new(grant))
            yield from (("max_skew", text) for text in self._skew(plan, grant))
            self._last.update(dict.fromkeys(grant.slots, grant.run))

    def _is_new(self, grant: Grant) -> Iterator[str]:
        if grant.generation <= self._generations.get(grant.run, 0):
            yield f"generation {grant.generation} of run {grant.run} was given before"
        self._generations[grant.run] = grant.generation

    def _skew(self, plan: Plan, grant: Grant) -> Iterator[str]:
        """A slot goes on with the run that it had only while that one does not lead by ``max_skew`` chunks.

        A run that had to wait itself may also be chosen because it has about as much work left as any other.
        """
        run = plan.runs[grant.run]
        slot_id = grant.slots[0]
        if self._last.get(slot_id) != run.id or needs(plan, run) > 1:
            return
        experiment = plan.experiments[run.experiment]
        had_to_wait = all(one.phase is GrantPhase.TRAINED for one in run.grants if one.generation < grant.generation)
        for other in _waiting(plan, experiment):
            lead = _chunks(experiment, run, grant.from_step) - _chunks(experiment, other, other.position)
            if lead < experiment.max_skew or not may_train_on(plan, other, slot_id):
                continue
            spare_s = experiment.max_skew * _first_chunk(plan, other) * expected_step_s(other)
            if had_to_wait and _left_s(other, other.position) <= _left_s(run, grant.from_step) + spare_s:
                continue
            yield f"{slot_id} goes on with run {run.id}, {lead} chunks ahead of run {other.id}; max_skew is {experiment.max_skew}"


def _leases(plan: Plan) -> Iterator[str]:
    """No slot trains more than it was given, and no run is open in two places."""
    occupied: dict[SlotId, list[Grant]] = {}
    for run in plan.runs.values():
        if len({(grant.client, grant.slots) for grant in run.grants}) > 1:
            yield f"run {run.id} is leased in two places"
        reached = run.position
        for grant in run.grants:
            if grant.from_step != reached:
                yield f"run {run.id} is granted from step {grant.from_step}, but everything before step {reached} is given"
            reached = grant.to_step
            if grant.phase is not GrantPhase.TRAINED:
                for slot_id in grant.slots:
                    occupied.setdefault(slot_id, []).append(grant)
    for slot_id, grants in occupied.items():
        if len(grants) > AHEAD_MAX:
            yield f"slot {slot_id} has {len(grants)} grants"


def _shares(plan: Plan, grant: Grant, kept: dict[ClientName, ExperimentId]) -> Iterator[str]:
    """Nobody of a higher priority waits for that slot, and, gangs apart, nobody of the same one that was served much less.

    A gang waits for the slots of the client that is ``kept`` for it.
    """
    run = plan.runs[grant.run]
    mine = plan.experiments[run.experiment]
    # A slot stays with its base model while that is a chunk ahead; then comes the charge of the grant itself.
    spare_s = max(_charge_s(plan, other, _first_chunk(plan, other) + 1) for other in plan.runs.values())
    spare_s += _charge_s(plan, run, grant.to_step - grant.from_step)
    for other in plan.experiments.values():
        is_gang = other.spec.resources.gpus_per_run > 1
        if other is mine or (is_gang and kept.get(grant.client) != other.id):
            continue
        if not is_gang and not any(may_train_on(plan, one, slot_id) for one in _waiting(plan, other) for slot_id in grant.slots):
            continue
        if other.spec.resources.priority > mine.spec.resources.priority:
            yield f"run {run.id} of {mine.id} gets {grant.slots[0]} while {other.id} waits with a higher priority"
        if is_gang or mine.spec.resources.gpus_per_run > 1:
            continue
        ahead_s = mine.service_s - other.service_s
        if other.spec.resources.priority == mine.spec.resources.priority and ahead_s > spare_s + 1e-6:
            yield f"{mine.id} is {ahead_s:.2f} s ahead of {other.id}, which waits, and gets {grant.slots[0]}"


def _waiting(plan: Plan, experiment: Experiment) -> list[Run]:
    return [run for run in _runs(plan, experiment.id) if waits_anywhere(plan, run)]


def _runs(plan: Plan, experiment: ExperimentId) -> list[Run]:
    return [plan.runs[run_id] for run_id in plan.experiments[experiment].runs]


def _charge_s(plan: Plan, run: Run, steps: int) -> float:
    """What so many steps of the run cost its experiment."""
    return steps * expected_step_s(run) * needs(plan, run) / plan.experiments[run.experiment].spec.resources.weight


def _first_chunk(plan: Plan, run: Run) -> int:
    """In steps; the others differ by one at most."""
    return next_chunk_end(0, plan.experiments[run.experiment].spec.chunks, run.steps_per_epoch, run.total_steps)


def _left_s(run: Run, step: int) -> float:
    return (run.total_steps - step) * expected_step_s(run)


def _chunks(experiment: Experiment, run: Run, step: int) -> int:
    return chunks_done(step, experiment.spec.chunks, run.steps_per_epoch, run.total_steps)
