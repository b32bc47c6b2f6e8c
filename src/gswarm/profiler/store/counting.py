"""How many values a selection has, without reading one: files say how many rows they hold, and of those at its ends times are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gswarm.domain.ids import ClientName
from gswarm.profiler.store.frames import Head, View
from gswarm.profiler.store.rows import US, Subjects
from gswarm.profiler.store.sample_store import Times
from gswarm.profiler.store.segments import RESOLUTIONS_S, Segment, newest_bucket_us
from gswarm.profiler.store.subjects import Subject

HostTimes = Callable[[Subjects, Times], Times]
"""From clients' clocks to the host's."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is counted: some metrics of some clients, both all if they are empty.

    Attributes:
        from_s, to_s: seconds since the epoch by the host's clock, both included.
    """

    from_s: float
    to_s: float
    metrics: frozenset[str] = frozenset()
    clients: frozenset[ClientName] = frozenset()

    def width(self, metrics: Sequence[str]) -> int:
        """How many of these count."""
        return len(self.metrics.intersection(metrics)) if self.metrics else len(metrics)

    def mask(self, subjects: Sequence[Subject]) -> NDArray[np.bool_]:
        """Which subjects count, by number."""
        return np.array([not self.clients or client in self.clients for client, _, _ in subjects], np.bool_)


def in_whole(segment: Segment, wanted: Wanted, mask: NDArray[np.bool_]) -> int:
    """Of a segment that lies in the range. Raises CorruptDataError."""
    widths = [wanted.width(metrics) for metrics in segment.groups]
    if not wanted.clients:
        return sum(width * rows for width, rows in zip(widths, segment.group_rows, strict=True))
    chosen = mask[segment.subjects]
    if not chosen.any():
        return 0
    return sum(width * int(segment.rows_by_subject(place)[chosen].sum()) for place, width in enumerate(widths) if width)


def in_part(segment: Segment, wanted: Wanted, mask: NDArray[np.bool_], host_times: HostTimes) -> int:
    """Of a segment that may lie in the range by a part. Raises CorruptDataError."""
    if not mask[segment.subjects].any():
        return 0
    places = [place for place, metrics in enumerate(segment.groups) if wanted.width(metrics)]
    return sum(
        wanted.width(segment.groups[place]) * int(_chosen(subject, at_us, wanted, mask, host_times).sum())
        for place, subject, at_us in segment.read_times(places)
    )


def in_memory(views: Iterable[View], wanted: Wanted, mask: NDArray[np.bool_], host_times: HostTimes) -> int:
    """Of what is in no segment yet."""
    views = [view for view in views if mask[view.subject] and wanted.width(view.metrics)]
    if not views:
        return 0
    lengths = [len(view.at_us) for view in views]
    subject = np.repeat(np.array([view.subject for view in views], np.int32), lengths)
    widths = np.repeat([wanted.width(view.metrics) for view in views], lengths)
    at_us = np.concatenate([view.at_us for view in views])
    return int(widths[_chosen(subject, at_us, wanted, mask, host_times)].sum())


def rows_to_read(
    segments: Iterable[Segment], heads: Iterable[Head], metric: str, mask: NDArray[np.bool_], from_us: int, to_us: int
) -> dict[int, float]:
    """About how many rows of a metric each resolution has in a range by the clients' clocks, of subjects of a mask; files are not read."""
    found = dict.fromkeys(RESOLUTIONS_S, 0.0)
    for segment in segments:
        rows = sum(rows for metrics, rows in zip(segment.groups, segment.group_rows, strict=True) if metric in metrics)
        known = segment.subjects[segment.subjects < len(mask)]
        end_us = min(newest_bucket_us(segment), max(round(segment.written_s * US), segment.from_us + 1))
        if rows and len(known):
            found[segment.resolution_s] += rows * float(mask[known].mean()) * _share(segment.from_us, end_us, from_us, to_us)
    for head in heads:
        frames = (frame for frame in head.frames.values() if metric in frame.metrics and frame.subject < len(mask) and mask[frame.subject])
        rows_in_range = sum(frame.length for frame in frames) * _share(head.from_us, head.to_us + 1, from_us, to_us)
        for resolution_s in found:
            found[resolution_s] += rows_in_range / max(resolution_s, 1)
    return found


def _share(begin_us: int, end_us: int, from_us: int, to_us: int) -> float:
    """How much of a time lies in a range."""
    return max(0, min(end_us, to_us) - max(begin_us, from_us)) / max(end_us - begin_us, 1)


def _chosen(subject: Subjects, at_us: Times, wanted: Wanted, mask: NDArray[np.bool_], host_times: HostTimes) -> NDArray[np.bool_]:
    at_us = host_times(subject, at_us)
    chosen: NDArray[np.bool_] = mask[subject] & (at_us >= wanted.from_s * US) & (at_us <= wanted.to_s * US)
    return chosen
