"""Which parameter made the difference."""

from __future__ import annotations

import itertools

import pytest

from gswarm.search.importance import RUNS_MIN, Trial, importances


def trials(score: object) -> list[Trial]:
    grid = itertools.product(("1e-05", "1e-04", "1e-03"), ("4", "8", "16"), ("linear", "cosine"))
    return [
        Trial({"learning_rate": rate, "lora_rank": rank, "lr_scheduler_type": kind, "seed": "1"}, score(float(rate), int(rank), kind))  # type: ignore[operator]
        for rate, rank, kind in grid
    ]


@pytest.mark.parametrize("is_minimized", [True, False])
@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("learning_rate", lambda rate, rank, kind: rate * 1e3 + rank * 1e-4),
        ("lora_rank", lambda rate, rank, kind: rank + rate),
        ("lr_scheduler_type", lambda rate, rank, kind: (kind == "linear") + rank * 1e-4),
    ],
)
def test_the_parameter_that_decides_comes_first(name: str, score: object, is_minimized: bool) -> None:
    found = importances(trials(score), is_minimized=is_minimized)
    assert found[0][0] == name
    assert {other for other, _ in found} == {"learning_rate", "lora_rank", "lr_scheduler_type"}, "what never differs is left out"
    assert sum(share for _, share in found) == pytest.approx(1.0)
    assert [share for _, share in found] == sorted((share for _, share in found), reverse=True)


def test_where_nothing_can_be_said_nothing_is() -> None:
    some = trials(lambda rate, rank, kind: rate)
    assert importances([], is_minimized=True) == []
    assert importances(some[: RUNS_MIN - 1], is_minimized=True) == []
    assert importances(trials(lambda rate, rank, kind: 1.0), is_minimized=True) == []
    assert importances([Trial({}, float(value)) for value in range(9)], is_minimized=True) == []


def test_clones_with_keys_of_their_own_take_nothing_away() -> None:
    mixed = [*trials(lambda rate, rank, kind: rank), Trial({"lora_rank": "32", "weight_decay": "0.1"}, 32.0)]
    assert [name for name, _ in importances(mixed, is_minimized=True)] == ["lora_rank"]
