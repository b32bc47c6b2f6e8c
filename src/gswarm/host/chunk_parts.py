"""What a chunk's time on its slot was made of: set-up, training, evaluation. Told from the times of its first and its last step."""

from __future__ import annotations

from dataclasses import dataclass

from gswarm.host.chunk_book import ChunkTime
from gswarm.profiler.series import SeriesStore

TELLING_METRIC = "step_time_s"
"""Every step has it, with the time at which the step was done."""


@dataclass(frozen=True, slots=True)
class TrainedSpan:
    """From the first step's begin to the last step's end, in seconds since the epoch; ``to_s`` is ``None`` while it trains."""

    from_s: float
    to_s: float | None


def trained_span(series: SeriesStore, chunk: ChunkTime) -> TrainedSpan | None:
    """``None`` where no step of it is known. Never outside the chunk, as its client's clock may differ a little from the host's."""
    first = series.query(chunk.run, TELLING_METRIC, chunk.from_step + 1, chunk.from_step + 1)
    if not first:
        return None
    _, took_s, at_s = first[0]
    from_s = _clamped(at_s - took_s, chunk)
    last = series.query(chunk.run, TELLING_METRIC, chunk.to_step, chunk.to_step) if chunk.ended_s is not None else []
    return TrainedSpan(from_s, max(from_s, _clamped(last[0][2], chunk)) if last else None)


def _clamped(at_s: float, chunk: ChunkTime) -> float:
    at_s = max(at_s, chunk.begun_s)
    return at_s if chunk.ended_s is None else min(at_s, chunk.ended_s)
