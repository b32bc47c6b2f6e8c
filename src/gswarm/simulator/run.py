"""Playing seeds, and telling of the first that fails: what was wrong, the shortest story that leads there, and how to see it again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gswarm.simulator.scenario import Scenario, draw
from gswarm.simulator.world import Violation, World

SHRINK_TRIES_MAX = 60
TRACE_LINES = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a seed ended. ``digest`` is of everything that happened; ``trace`` are the newest lines of it."""

    scenario: Scenario
    violation: Violation | None
    digest: str
    trace: tuple[str, ...]
    simulated_s: float
    events: int
    """In the journal."""


def simulate(seed: int) -> Outcome:
    """Plays one seed."""
    return play(draw(seed))


def play(scenario: Scenario) -> Outcome:
    with _quiet():
        world = World(scenario)
        world.play()
    lines = tuple(world.trace.lines(TRACE_LINES))
    return Outcome(scenario, world.violation, world.digest(), lines, world.heap.now_s, world.checkers.seq)


def shrink(failed: Outcome) -> Outcome:
    """The same failure out of as few happenings as a bounded search finds: large parts are left away first, then single ones."""
    best, tries = failed, 0
    size = max(1, len(best.scenario.happenings) // 2)
    while tries < SHRINK_TRIES_MAX:
        smaller = None
        for start in range(0, len(best.scenario.happenings), size):
            kept = best.scenario.happenings[:start] + best.scenario.happenings[start + size :]
            tries += 1
            outcome = play(replace(best.scenario, happenings=kept))
            if _is_same(outcome.violation, failed.violation):
                smaller = outcome
                break
            if tries >= SHRINK_TRIES_MAX:
                break
        if smaller is not None:
            best = smaller
        elif size == 1:
            break
        else:
            size = max(1, size // 2)
    return best


def _is_same(one: Violation | None, other: Violation | None) -> bool:
    return one is not None and other is not None and _kind(one) == _kind(other)


def _kind(violation: Violation) -> tuple[str, str]:
    """What it is about, without the names and numbers, which change as happenings are left away."""
    words = violation.text.split(";")[0].split(":")[0].split()
    return violation.checker, " ".join(word for word in words if word.isalpha() and len(word) > 1)


def report(failed: Outcome) -> str:
    """What a person needs to understand a failed seed, and the line that shows it again."""
    small = shrink(failed)
    violation = small.violation
    assert violation is not None
    seed = failed.scenario.seed
    return "\n".join(
        (
            f"seed {seed} failed: {violation.checker}: {violation.text}",
            f"of {len(failed.scenario.happenings)} happenings these {len(small.scenario.happenings)} lead there:",
            *(f"  {one.at_s:8.3f}  {one.kind}" for one in small.scenario.happenings),
            f"the last {len(small.trace)} lines:",
            *(f"  {line}" for line in small.trace),
            f"again: make sim SEED={seed} COUNT=1   (or: gswarm simulate --seed {seed})",
        )
    )


def first_failure(first: int, count: int, on_done: Callable[[Outcome], None] = lambda outcome: None) -> Outcome | None:
    """Plays ``count`` seeds from ``first`` on until one fails."""
    for seed in range(first, first + count):
        outcome = simulate(seed)
        on_done(outcome)
        if outcome.violation is not None:
            return outcome
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """What simulated processes log is about simulated trouble."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
