"""Fewer points for a chart, without losing a spike."""

from __future__ import annotations

from collections.abc import Sequence

from gswarm.domain.errors import InvalidInputError

Point = tuple[int, float, float]
"""(step, value, seconds since the epoch)"""

POINTS_MIN = 2


def downsample(rows: Sequence[Point], points: int) -> list[Point]:
    """At most ``points`` of the rows, in their order.

    The first and the last row stay. Between them the steps are cut in equal ranges, and each range keeps its smallest and
    its largest value, so no extreme of the series is lost once there are four points.

    Args:
        rows: in order of their steps, each step once.

    Raises:
        InvalidInputError: fewer than two points are asked for.
    """
    if points < POINTS_MIN:
        raise InvalidInputError(f"a chart of {points} points", f"ask for at least {POINTS_MIN}")
    if len(rows) <= points:
        return list(rows)
    first, inner, last = rows[0], rows[1:-1], rows[-1]
    buckets = (points - 2) // 2
    if not buckets:
        return [first, last]
    begin, span = inner[0][0], inner[-1][0] - inner[0][0] + 1
    lows: list[Point | None] = [None] * buckets
    highs: list[Point | None] = [None] * buckets
    for row in inner:
        bucket = (row[0] - begin) * buckets // span
        low, high = lows[bucket], highs[bucket]
        if low is None or row[1] < low[1]:
            lows[bucket] = row
        if high is None or row[1] > high[1]:
            highs[bucket] = row
    kept = {row for row in (*lows, *highs) if row is not None}
    return [first, *sorted(kept), last]
