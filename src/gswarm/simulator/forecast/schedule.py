"""A schedule as it was trained, and whether it is one: the check knows nothing of the scheduler that made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from gswarm.domain.errors import InvariantError
from gswarm.domain.ids import RunId, SlotId

TOLERANCE_S = 1e-6


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps that a run trained on a slot without a break. Times are seconds since the start."""

    slot: SlotId
    run: RunId
    from_step: int
    to_step: int
    began_s: float
    """Where its first step begins; the switch before it is not part of it."""
    ended_s: float


def check_schedule(trained: Iterable[Stretch], total_steps: Mapping[RunId, int]) -> None:
    """Raises InvariantError unless no slot and no run does two things at once, and each run trains each step once, in order."""
    by_slot: dict[SlotId, list[Stretch]] = {}
    by_run: dict[RunId, list[Stretch]] = {}
    for one in trained:
        by_slot.setdefault(one.slot, []).append(one)
        by_run.setdefault(one.run, []).append(one)
    for name, stretches in (*by_slot.items(), *by_run.items()):
        stretches.sort(key=lambda one: one.began_s)
        for first, second in pairwise(stretches):
            if first.ended_s > second.began_s + TOLERANCE_S:
                raise InvariantError(f"{name} does two things at once: {first} and {second}")
    for run, total in total_steps.items():
        position = 0
        for one in by_run.get(run, ()):
            if one.from_step != position:
                raise InvariantError(f"{run} trains step {one.from_step} when it stands at {position}")
            position = one.to_step
        if position != total:
            raise InvariantError(f"{run} ends at step {position} of {total}")
