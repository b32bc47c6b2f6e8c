"""When slots did nothing, as their clients measured it: also while the host was away, as samples are kept until it is back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gswarm.domain.ids import SlotId
from gswarm.host.timeline.chunk_parts import IdleBetween
from gswarm.host.timeline.run_spans import slot_device
from gswarm.profiler.store.rows import US
from gswarm.profiler.store.sample_store import AnswerSeries, SampleQuery, SampleStore

METRIC = "idle_share"
POINTS = 400
"""Coarse from a quarter of an hour on: what is looked for takes longer than that."""
SAMPLE_MAX_S = 10.0
"""A sample says nothing about more of the time before it."""
POINTS_LEAST = 2
"""Less idle time than so many points may be none."""


@dataclass(frozen=True, slots=True)
class _Line:
    """Idle seconds summed up to moments, both ascending."""

    at_s: NDArray[np.float64]
    idle_s: NDArray[np.float64]


class SlotIdle:
    """Of some slots in a range of time."""

    def __init__(self, lines: dict[SlotId, _Line], least_s: float) -> None:
        self._lines = lines
        self._least_s = least_s

    def of(self, slot: SlotId) -> IdleBetween:
        line = self._lines.get(slot)

        def between(from_s: float, to_s: float) -> float:
            if line is None:
                return 0.0
            before, behind = np.interp([from_s, to_s], line.at_s, line.idle_s)
            return float(behind - before) if behind - before >= self._least_s else 0.0

        return between

    def told_since(self, slot: SlotId) -> float | None:
        """When the slot's client told of it first in the range."""
        line = self._lines.get(slot)
        return float(line.at_s[0]) if line is not None else None


def read_idle(store: SampleStore, slots: Collection[SlotId], from_s: float, to_s: float) -> SlotIdle:
    """Reads nothing where no slot is wanted."""
    if not slots:
        return SlotIdle({}, 0.0)
    by_device = {(slot.rpartition("/")[0], slot_device(slot)): slot for slot in slots}
    clients, devices = (frozenset(names) for names in zip(*by_device, strict=True))
    answer = store.query(SampleQuery((METRIC,), from_s, to_s, POINTS, clients=clients, devices=devices))
    lines = {
        by_device[series.client, series.device]: _line(series, answer.step_s)
        for series in answer.series
        if (series.client, series.device) in by_device and len(series.at_us)
    }
    return SlotIdle(lines, POINTS_LEAST * max(answer.step_s, 1.0))


def _line(series: AnswerSeries, step_s: float) -> _Line:
    """A sample is of the time before it, a point with a width of the time behind it."""
    at_s = series.at_us / US
    if step_s:
        from_s, to_s = at_s, at_s + step_s
    else:
        before = np.concatenate([[at_s[0] - 1.0], at_s[:-1]])
        from_s, to_s = np.maximum(before, at_s - SAMPLE_MAX_S), at_s
    idle_s = np.cumsum(np.nan_to_num(series.mean) * (to_s - from_s))
    ends = np.column_stack([from_s, to_s]).ravel()
    sums = np.column_stack([np.concatenate([[0.0], idle_s[:-1]]), idle_s]).ravel()
    return _Line(ends, sums)
