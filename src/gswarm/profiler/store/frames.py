"""Samples in memory: what came since the newest segment was begun, and the same as tables once nothing more comes in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from gswarm.domain.ids import ClientName
from gswarm.profiler.store.rows import Rows, Subjects, samples
from gswarm.profiler.store.sample_store import Times, Values

_ROWS_AT_FIRST = 16


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of all subjects that were measured with the same metrics, ordered by subject and time.

    Attributes:
        values: shape (metrics, rows).
    """

    metrics: tuple[str, ...]
    subject: Subjects
    at_us: Times
    values: Values

    @property
    def nbytes(self) -> int:
        return self.subject.nbytes + self.at_us.nbytes + self.values.nbytes

    def rows(self, metric: str) -> Rows:
        return samples(self.subject, self.at_us, self.values[self.metrics.index(metric)])


class Frame:
    """Rows of one subject and one set of metrics, as they came. What was read from it once does not change when it grows."""

    __slots__ = ("at_us", "length", "metrics", "subject", "values")

    def __init__(self, subject: int, metrics: tuple[str, ...]) -> None:
        self.subject = subject
        self.metrics = metrics
        self.length = 0
        self.at_us: Times = np.empty(_ROWS_AT_FIRST, np.int64)
        self.values: Values = np.empty((len(metrics), _ROWS_AT_FIRST), np.float64)

    def add(self, at_us: Times, values: Values) -> None:
        """``values`` has the shape (metrics, rows)."""
        begin, end = self.length, self.length + len(at_us)
        if end > len(self.at_us):
            self._grow(end)
        self.at_us[begin:end] = at_us
        self.values[:, begin:end] = values
        self.length = end

    def _grow(self, least: int) -> None:
        capacity = max(least, 2 * len(self.at_us))
        at_us, values = np.empty(capacity, np.int64), np.empty((len(self.metrics), capacity), np.float64)
        at_us[: self.length] = self.at_us[: self.length]
        values[:, : self.length] = self.values[:, : self.length]
        self.at_us, self.values = at_us, values


@dataclass(slots=True)
class Head:
    """What one log holds.

    Attributes:
        series: number of series by client, for the limits.
        opened_s: when the first batch came, seconds since the epoch; ``None`` before it.
        values: how many came.
    """

    number: int
    frames: dict[tuple[int, tuple[str, ...]], Frame] = field(default_factory=dict)
    series: dict[ClientName, int] = field(default_factory=dict)
    from_us: int = 2**62
    to_us: int = 0
    opened_s: float | None = None
    values: int = 0

    def rows(self, metric: str) -> Iterator[Rows]:
        """The rows of every frame that has the metric, as of now."""
        for frame in self.frames.values():
            if metric in frame.metrics and frame.length:
                n = frame.length
                subject = np.full(n, frame.subject, np.int32)
                yield samples(subject, frame.at_us[:n], frame.values[frame.metrics.index(metric), :n])

    def views(self) -> list[View]:
        """What is there now; it stays as it is while the head goes on."""
        frames = [frame for frame in self.frames.values() if frame.length]
        return [View(frame.metrics, frame.subject, frame.at_us[: frame.length], frame.values[:, : frame.length]) for frame in frames]


@dataclass(frozen=True, slots=True)
class View:
    """The rows of one frame."""

    metrics: tuple[str, ...]
    subject: int
    at_us: Times
    values: Values


def tables_of(views: Iterable[View]) -> list[Table]:
    """One table a set of metrics."""
    by_metrics: dict[tuple[str, ...], list[View]] = {}
    for view in views:
        by_metrics.setdefault(view.metrics, []).append(view)
    return [_table(metrics, sorted(found, key=lambda view: view.subject)) for metrics, found in sorted(by_metrics.items())]


def _table(metrics: tuple[str, ...], views: list[View]) -> Table:
    subject = np.repeat(np.array([view.subject for view in views], np.int32), [len(view.at_us) for view in views])
    at_us = np.concatenate([view.at_us for view in views])
    values = np.concatenate([view.values for view in views], axis=1)
    order = np.lexsort((at_us, subject))
    if (order[1:] > order[:-1]).all():
        return Table(metrics, subject, at_us, values)
    return Table(metrics, subject, at_us[order], values[:, order])
