"""Planted bugs are caught. ``make sim-mutations`` plants all of them; these are the ones that are caught soon."""

from __future__ import annotations

import pytest
from mutations import MUTATIONS, hunt

from gswarm.simulator.run import report, shrink

SOON = 40
BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}


@pytest.mark.parametrize("name", ["off-by-one chunk", "missing fence", "ack before flush", "double grant", "lost ref", "unfair tie"])
def test_a_planted_bug_is_caught(name: str) -> None:
    assert hunt(BY_NAME[name], range(SOON)) is not None


def test_a_failure_is_told_with_as_little_as_leads_there_and_how_to_see_it_again() -> None:
    mutation = BY_NAME["sweep without lease"]
    caught = hunt(mutation, range(SOON))
    assert caught is not None
    assert caught.violation is not None
    with mutation.plant():
        small = shrink(caught)
        told = report(caught)
    assert small.violation is not None
    assert small.violation.checker == caught.violation.checker
    assert len(small.scenario.happenings) < len(caught.scenario.happenings)
    assert told.endswith(f"again: make sim SEED={caught.scenario.seed} COUNT=1   (or: gswarm simulate --seed {caught.scenario.seed})")
    assert f"seed {caught.scenario.seed} failed: {small.violation.checker}" in told
