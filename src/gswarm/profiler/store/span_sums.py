"""What a metric came to for each run, on each device that it had and for as long as it had it: by columns, as runs take turns often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gswarm.domain.ids import ClientName
from gswarm.profiler.store.rows import US, Rows, group_starts, ordered
from gswarm.profiler.store.sample_store import Times
from gswarm.profiler.store.subjects import Subject

OWN = "run:"
"""With a run's name behind it, the owner of what its own processes use."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Who had one device when.

    Attributes:
        run: its number in ``Tenures.runs``.
        from_us, to_us: microseconds since the epoch; the end does not belong to it.
    """

    run: NDArray[np.int32]
    from_us: Times
    to_us: Times


@dataclass(frozen=True, slots=True)
class Tenures:
    """Which devices runs had.

    Attributes:
        runs: their numbers, from 0 on in this order.
        hosts: clients on which a run had something; what its own processes used there is its own at any time.
    """

    runs: Mapping[str, int]
    devices: Mapping[tuple[ClientName, str], Turns]
    hosts: frozenset[tuple[ClientName, str]]

    def selected(self, subjects: Sequence[Subject]) -> NDArray[np.bool_]:
        """Which subjects matter, by number."""
        return np.array([self._is_own(one) if one[2] else one[:2] in self.devices for one in subjects], np.bool_)

    def times(self, device: tuple[ClientName, str], from_s: float, to_s: float) -> Iterator[tuple[int, float]]:
        """For how many seconds of the range each run, by its number, had a device."""
        had = self.devices[device]
        length_us = np.minimum(had.to_us, round(to_s * US)) - np.maximum(had.from_us, round(from_s * US))
        numbers, place = np.unique(had.run, return_inverse=True)
        times_s = np.bincount(place, np.maximum(length_us, 0)) / US
        yield from zip(numbers.tolist(), times_s.tolist(), strict=True)

    def turns(self, subject: Subject, from_us: int, to_us: int) -> Turns:
        """Of a selected subject, as far as they lie in the range."""
        client, device, owner = subject
        if owner:
            number = self.runs[owner.removeprefix(OWN)]
            return Turns(np.array([number], np.int32), np.array([from_us]), np.array([to_us]))
        had = self.devices[client, device]
        return Turns(had.run, np.maximum(had.from_us, from_us), np.minimum(had.to_us, to_us))

    def _is_own(self, subject: Subject) -> bool:
        client, _device, owner = subject
        return owner.startswith(OWN) and (client, owner.removeprefix(OWN)) in self.hosts


@dataclass(frozen=True, slots=True)
class SpanSum:
    """One run on one device, or its own share of it. ``count`` is for how many seconds there are values, ``total`` their sum with each
    second counted once, however often it was sampled: a session makes sampling faster for a while, and that must not weigh more."""

    run: str
    client: ClientName
    device: str
    owner: str
    total: float
    low: float
    high: float
    count: float


def sums(rows: Rows, width_s: int, subjects: Sequence[Subject], tenures: Tenures, from_s: float, to_s: float) -> Iterator[SpanSum]:
    """Of rows of selected subjects; ``width_s`` is their resolution."""
    rows, names = ordered(rows), list(tenures.runs)
    from_us, to_us = round(from_s * US), round(to_s * US)
    for start, end in pairwise([*group_starts(rows.subject).tolist(), len(rows)]):
        subject = subjects[int(rows.subject[start])]
        for number, *of_run in _by_run(_by_second(rows.take(slice(start, end)), width_s), width_s, tenures.turns(subject, from_us, to_us)):
            yield SpanSum(names[number], *subject, *of_run)


def _by_second(rows: Rows, width_s: int) -> Rows:
    """Rows of one subject, in order of time: those with a value weigh a second together, a bucket of a rollup its width."""
    has_value = (rows.count > 0).astype(np.float64)
    weight = has_value * width_s
    if not width_s:
        second = np.cumsum(np.diff(rows.at_us // US, prepend=rows.at_us[:1] // US) > 0)
        weight = has_value / np.maximum(np.bincount(second, has_value), 1.0)[second]
    return replace(rows, total=rows.mean * weight, count=weight)


def _by_run(rows: Rows, width_s: int, turns: Turns) -> Iterator[tuple[int, float, float, float, float]]:
    """Number of the run, total, low, high and count of the rows of one subject, in order of time."""
    # A bucket belongs to whom its middle does.
    middle_us = rows.at_us + width_s * US // 2
    first, last = np.searchsorted(middle_us, turns.from_us), np.searchsorted(middle_us, turns.to_us)
    has_rows = last > first
    if not has_rows.any():
        return
    places = np.column_stack((first[has_rows], last[has_rows])).ravel()
    # Every second sum is that of a turn, the others are of what lies between two turns. The last place may be the end.
    total = np.add.reduceat(np.append(np.where(rows.count > 0, rows.total, 0.0), 0.0), places)[::2]
    count = np.add.reduceat(np.append(rows.count, 0.0), places)[::2]
    low = np.fmin.reduceat(np.append(rows.low, np.nan), places)[::2]
    high = np.fmax.reduceat(np.append(rows.high, np.nan), places)[::2]
    runs, turn_of = np.unique(turns.run[has_rows], return_inverse=True)
    lows, highs = np.full(len(runs), np.nan), np.full(len(runs), np.nan)
    np.fmin.at(lows, turn_of, low)
    np.fmax.at(highs, turn_of, high)
    totals, counts = np.bincount(turn_of, total), np.bincount(turn_of, count)
    has_value = counts > 0
    yield from zip(*(column[has_value].tolist() for column in (runs, totals, lows, highs, counts)), strict=True)
