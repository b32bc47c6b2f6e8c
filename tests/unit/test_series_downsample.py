"""Downsampling keeps what a person would look for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gswarm.domain.errors import InvalidInputError
from gswarm.profiler.downsample import Point, downsample

ROWS = st.dictionaries(st.integers(0, 1000), st.floats(-1e6, 1e6)).map(
    lambda values: [(step, values[step], 0.5) for step in sorted(values)]
)


@given(ROWS, st.integers(2, 60))
def test_bounded_ordered_and_without_losing_an_extreme(rows: list[Point], points: int) -> None:
    kept = downsample(rows, points)
    assert len(kept) <= points
    assert set(kept) <= set(rows)
    assert kept == sorted(set(kept))
    if rows:
        assert (kept[0], kept[-1]) == (rows[0], rows[-1])
    if points >= 4 and rows:
        for extreme in (min, max):
            assert extreme(row[1] for row in kept) == extreme(row[1] for row in rows)
    if len(rows) <= points:
        assert kept == rows


def test_a_spike_stays() -> None:
    rows = [(step, 1.0 if step != 7777 else 99.0, float(step)) for step in range(10_000)]
    assert (7777, 99.0, 7777.0) in downsample(rows, 20)


@pytest.mark.parametrize("points", [1, 0, -5])
def test_too_few_points(points: int) -> None:
    with pytest.raises(InvalidInputError):
        downsample([], points)
