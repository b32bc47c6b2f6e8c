"""What a chunk's time on its slot was made of: set-up, training, evaluation. Told from the times of its first and its last step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from gswarm.domain.ids import RunId
from gswarm.host.timeline.chunk_book import ChunkTime
from gswarm.profiler.series import SeriesStore

TELLING_METRIC = "step_time_s"
"""Every step has it, with the time at which the step was done."""
LATE_S = 10.0
"""A chunk that ends so long after its last step has a long evaluation, or the host was away and heard of its end later."""

IdleBetween = Callable[[float, float], float]
"""Seconds between two moments in which the slot did nothing, as its client measured them; 0 where nobody knows."""


@dataclass(frozen=True, slots=True)
class TrainedSpan:
    """From the first step's begin to the last step's end, in seconds since the epoch; ``to_s`` is ``None`` while it trains."""

    from_s: float
    to_s: float | None


@dataclass(frozen=True, slots=True)
class ChunkParts:
    """A chunk and what its time was made of.

    Attributes:
        trained: ``None`` where no step of it is known.
        evaluated_s: the end of its evaluation; ``None`` where its last step is not known.
    """

    chunk: ChunkTime
    trained: TrainedSpan | None
    evaluated_s: float | None


def is_late(chunk: ChunkTime, trained: TrainedSpan | None) -> bool:
    """Whether its end needs a second look, see ``slot_parts``."""
    return chunk.ended_s is not None and trained is not None and trained.to_s is not None and chunk.ended_s - trained.to_s > LATE_S


def slot_parts(series: SeriesStore, chunks: Sequence[tuple[ChunkTime, TrainedSpan | None]], idle: IdleBetween) -> Iterator[ChunkParts]:
    """The chunks of one slot, by their begin, with what ``trained_span`` says about them.

    The book has the times at which the host heard of them. While the host is away its clients go on, so what a chunk's last step, the
    next one's first step and the slot's idle time say goes before the book.
    """
    begun_s: float | None = None
    for (chunk, trained), behind in zip_longest(chunks, chunks[1:]):
        if begun_s is not None:
            chunk = replace(chunk, begun_s=begun_s)
            trained = trained_span(series, chunk)
        begun_s = _early_begin(series, chunk, trained, behind[0]) if behind is not None else None
        if begun_s is not None:
            chunk = replace(chunk, ended_s=begun_s)
        yield ChunkParts(chunk, trained, _evaluated_s(chunk, trained, idle))


def _early_begin(series: SeriesStore, chunk: ChunkTime, trained: TrainedSpan | None, behind: ChunkTime) -> float | None:
    """When the next chunk's first step began, where that was long before the host heard of this one's end."""
    if not is_late(chunk, trained) or trained is None or trained.to_s is None or chunk.ended_s is None:
        return None
    first_s = _begin_of(series, behind.run, behind.from_step)
    return first_s if first_s is not None and trained.to_s <= first_s < chunk.ended_s - LATE_S / 2 else None


def _evaluated_s(chunk: ChunkTime, trained: TrainedSpan | None, idle: IdleBetween) -> float | None:
    if chunk.ended_s is None or trained is None or trained.to_s is None:
        return None
    if not is_late(chunk, trained):
        return chunk.ended_s
    # An evaluation follows the last step at once, so idle time lies behind it.
    return max(trained.to_s, chunk.ended_s - idle(trained.to_s, chunk.ended_s))


def trained_span(series: SeriesStore, chunk: ChunkTime) -> TrainedSpan | None:
    """``None`` where no step of it is known. Never outside the chunk, as its client's clock may differ a little from the host's."""
    first_s = _begin_of(series, chunk.run, chunk.from_step)
    if first_s is None:
        return None
    from_s = _clamped(first_s, chunk)
    last = series.query(chunk.run, TELLING_METRIC, chunk.to_step, chunk.to_step) if chunk.ended_s is not None else []
    return TrainedSpan(from_s, max(from_s, _clamped(last[0][2], chunk)) if last else None)


def _begin_of(series: SeriesStore, run: RunId, from_step: int) -> float | None:
    """When the step behind ``from_step`` began."""
    found = series.query(run, TELLING_METRIC, from_step + 1, from_step + 1)
    return found[0][2] - found[0][1] if found else None


def _clamped(at_s: float, chunk: ChunkTime) -> float:
    at_s = max(at_s, chunk.begun_s)
    return at_s if chunk.ended_s is None else min(at_s, chunk.ended_s)
