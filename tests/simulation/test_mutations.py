"""Planted bugs are caught, each at the seed that is kept beside it. ``make sim-mutations`` looks for these seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutations import MUTATIONS, Mutation, hunt
from test_seeds import SEEDS

from gswarm.simulator.run import report, shrink

RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"
BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=list(BY_NAME))
def test_a_planted_bug_is_caught(mutation: Mutation) -> None:
    assert mutation.seed < SEEDS, "without the bug the seed is among those that hold"
    caught = hunt(mutation, [mutation.seed])
    assert caught is not None, "make sim-mutations finds another seed for it"
    assert caught.violation is not None
    assert caught.violation.checker == mutation.checker


def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    text = RELIABILITY.read_text(encoding="utf-8")
    table = text.partition("| planted bug |")[2].partition("\n\n")[0]
    assert table.splitlines()[2:] == [mutation.row() for mutation in MUTATIONS]
    assert len(BY_NAME) == len(MUTATIONS)


def test_a_failure_is_told_with_as_little_as_leads_there_and_how_to_see_it_again() -> None:
    mutation = BY_NAME["sweep without lease"]
    caught = hunt(mutation, [mutation.seed])
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
