"""One metric of many series as columns, and how rows become fewer rows that lie about nothing: minimum, maximum, sum and count stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gswarm.profiler.store.sample_store import Times, Values

Subjects = NDArray[np.int32]
"""Numbers of ``subjects.Registry``."""

US = 1_000_000
"""Microseconds a second."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Values of one metric, all of the same length.

    Attributes:
        at_us: when; of a rollup its begin.
        total: sum of the row's samples; NaN where none of them had a value. ``low`` and ``high`` are their extremes.
        count: samples of the row that had a value.
    """

    subject: Subjects
    at_us: Times
    total: Values
    low: Values
    high: Values
    count: Values

    def __len__(self) -> int:
        return len(self.at_us)

    @property
    def mean(self) -> Values:
        return self.total / np.maximum(self.count, 1)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Rows:
        """The rows of a mask, of places or of a slice."""
        if isinstance(chosen, np.ndarray) and chosen.dtype == np.bool_ and chosen.all():
            return self
        total = self.total[chosen]
        if self.low is self.total:
            return Rows(self.subject[chosen], self.at_us[chosen], total, total, total, self.count[chosen])
        return Rows(self.subject[chosen], self.at_us[chosen], total, self.low[chosen], self.high[chosen], self.count[chosen])


def samples(subject: Subjects, at_us: Times, values: Values) -> Rows:
    """Rows of one sample each."""
    return Rows(subject, at_us, values, values, values, (~np.isnan(values)).astype(np.float64))


NOTHING = samples(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64))


def joined(parts: Sequence[Rows]) -> Rows:
    """All rows, part after part."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else NOTHING
    subject, at_us = np.concatenate([part.subject for part in parts]), np.concatenate([part.at_us for part in parts])
    total, count = np.concatenate([part.total for part in parts]), np.concatenate([part.count for part in parts])
    if all(part.low is part.total for part in parts):
        return Rows(subject, at_us, total, total, total, count)
    low, high = np.concatenate([part.low for part in parts]), np.concatenate([part.high for part in parts])
    return Rows(subject, at_us, total, low, high, count)


def ordered(rows: Rows) -> Rows:
    """By subject, then by time; rows of equal time keep their order."""
    if len(rows) < 2:
        return rows
    if _is_ordered(rows.subject, rows.at_us):
        return rows
    return rows.take(_order(rows.subject, rows.at_us))


def _order(subject: Subjects, at_us: Times) -> NDArray[np.intp]:
    """Where each row belongs; by one key where both fit into it, which is much faster."""
    first_us = int(at_us.min())
    width = (int(at_us.max()) - first_us).bit_length()
    if width + int(subject.max()).bit_length() < 63:
        return np.argsort((subject.astype(np.int64) << width) | (at_us - first_us), kind="stable")
    return np.lexsort((at_us, subject))


def _is_ordered(subject: Subjects, at_us: Times) -> bool:
    step = np.diff(subject)
    return bool(((step > 0) | ((step == 0) & (np.diff(at_us) >= 0))).all())


def bucketed(rows: Rows, width_us: int) -> Rows:
    """One row a subject and bucket, in order; a bucket begins at a multiple of its width."""
    if not len(rows):
        return rows
    return merged(Rows(rows.subject, rows.at_us - rows.at_us % width_us, rows.total, rows.low, rows.high, rows.count))


def merged(rows: Rows) -> Rows:
    """Rows of the same subject and time become one."""
    rows = ordered(rows)
    if not len(rows):
        return rows
    starts = group_starts(rows.subject, rows.at_us)
    if len(starts) == len(rows):
        return rows
    count = np.add.reduceat(rows.count, starts)
    total = np.add.reduceat(np.where(rows.count > 0, rows.total, 0.0), starts)
    total[count == 0] = np.nan
    low, high = np.fmin.reduceat(rows.low, starts), np.fmax.reduceat(rows.high, starts)
    return Rows(rows.subject[starts], rows.at_us[starts], total, low, high, count)


def group_starts(subject: Subjects, at_us: Times | None = None) -> NDArray[np.intp]:
    """Where in ordered rows a new subject (and time) begins; the first place is always one."""
    new = np.empty(len(subject), np.bool_)
    new[:1] = True
    np.not_equal(subject[1:], subject[:-1], out=new[1:])
    if at_us is not None:
        new[1:] |= at_us[1:] != at_us[:-1]
    return np.flatnonzero(new)
