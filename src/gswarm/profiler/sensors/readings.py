"""What sources of samples have in common: readings, rates of counters, and what a sensor cannot have meant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gswarm.domain.samples import DeviceInfo

NAN = math.nan

_TERA = 1e12
_BOUNDS = {
    "ratio": (0.0, 1.0),
    "bytes": (0.0, 1e16),
    "bytes_per_second": (0.0, 100 * _TERA),
    "watts": (0.0, 20_000.0),
    "joules": (0.0, 1e15),
    "celsius": (-60.0, 250.0),
    "hertz": (0.0, 20e9),
}
"""By unit. Broken sensors answer with all bits set, or with what was in memory."""
_EXCESS = 1.5
"""Shares are measured over intervals that do not quite fit: up to this they count as whole."""


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """A process on a device.

    Attributes:
        lineage: its own id, its ancestors' from the parent up, and its session's.
        memory_used_bytes, sm_utilization: ``None`` where the driver does not say.
    """

    device: str
    pid: int
    account: str
    command: str
    lineage: tuple[int, ...]
    memory_used_bytes: int | None
    sm_utilization: float | None


class Source(Protocol):
    """Something that has sensors. One reader at a time calls ``read`` for a given set of metrics."""

    def devices(self) -> tuple[DeviceInfo, ...]:
        """What was found last."""

    def read(self, due: frozenset[str]) -> list[tuple[str, dict[str, float]]]:
        """Device and value by metric, of those metrics of ``due`` that the device has; NaN where a sensor had no answer."""


def plausible(unit: str, value: float) -> float:
    """The value, or NaN where a sensor of that unit cannot have meant it."""
    low, high = _BOUNDS.get(unit, (0.0, 2.0**63))
    if unit == "ratio" and 1.0 < value <= _EXCESS:
        return 1.0
    return value if low <= value <= high else NAN


class Rate:
    """The rate of a counter between two looks at it. The first look gives NaN, and so does a counter that began anew. Looked at only when
    its metric is due, so that it is the mean of the whole time between two samples of it."""

    __slots__ = ("_at_s", "_count")

    def __init__(self) -> None:
        self._count = NAN
        self._at_s = NAN

    def per_second(self, count: float, at_s: float) -> float:
        """``at_s`` is of any clock that only goes forward."""
        before, before_s = self._count, self._at_s
        self._count, self._at_s = count, at_s
        passed_s = at_s - before_s
        return (count - before) / passed_s if passed_s > 0 and count >= before else NAN


class SumOfRates:
    """The rates of counters that count together, such as a GPU's links: those that answer. Each has its own, so that one that is silent
    once and comes back does not count all that it ever had as of now."""

    __slots__ = ("_rates",)

    def __init__(self) -> None:
        self._rates: list[Rate] = []

    def per_second(self, counts: Sequence[float], at_s: float) -> float:
        """NaN where no counter has a rate."""
        self._rates += [Rate() for _ in range(len(counts) - len(self._rates))]
        rates = [rate.per_second(count, at_s) for rate, count in zip(self._rates, counts, strict=False)]
        there = [rate for rate in rates if not math.isnan(rate)]
        return sum(there) if there else NAN
