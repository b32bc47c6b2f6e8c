"""Steps and chunks of a run: pure arithmetic, the same as transformers' ``Trainer`` does."""

from __future__ import annotations

import math

from gswarm.domain.errors import InvalidInputError, LimitError
from gswarm.domain.spec import Chunks, RunSpec

AUTO_CHUNKS_PER_EPOCH = 8
COUNT_MAX = 2**63 - 1
"""Of a run's steps and rows: what the databases of metrics and timelines can keep."""


def steps_per_epoch(spec: RunSpec, train_rows: int) -> int:
    """Optimizer steps in one pass over ``train_rows`` rows, the last one possibly smaller.

    Source: ``Trainer.set_initial_training_values`` of transformers 5.
    """
    if train_rows < 1:
        raise InvalidInputError("the training data has no rows", "check dataset, val_size and max_samples")
    batches = math.ceil(train_rows / spec.per_device_train_batch_size)
    return math.ceil(batches / spec.gradient_accumulation_steps)


def total_steps(spec: RunSpec, train_rows: int) -> int:
    """Optimizer steps of the whole run."""
    if spec.max_steps is not None:
        return spec.max_steps
    return math.ceil(spec.num_train_epochs * steps_per_epoch(spec, train_rows))


def check_counts(*counts: int) -> None:
    """Raises:
    LimitError: a run of so many steps or rows cannot be kept.
    """
    if max(counts) > COUNT_MAX:
        raise LimitError(
            f"a run would have {max(counts)} steps or rows, but {COUNT_MAX} is the most", "check the data set and num_train_epochs"
        )


def check_chunks(chunks: Chunks, epoch_steps: int, run_steps: int) -> None:
    """Raises:
    InvalidInputError: more chunks than steps.
    """
    available = min(epoch_steps, run_steps)
    if chunks.num_chunks is not None and chunks.num_chunks > available:
        raise InvalidInputError(
            f"num_chunks is {chunks.num_chunks}, but an epoch has only {available} optimizer steps",
            f"set chunks.num_chunks to at most {available}",
        )


def next_chunk_end(position: int, chunks: Chunks, epoch_steps: int, run_steps: int) -> int:
    """The step at which the chunk that contains step ``position`` ends (exclusive).

    Chunk borders are a fixed property of the run: a run that was stopped inside a chunk continues to that chunk's end.
    """
    epoch, offset = divmod(position, epoch_steps)
    if chunks.steps is not None:
        end = (offset // chunks.steps + 1) * chunks.steps
    else:
        count = min(chunks.num_chunks or AUTO_CHUNKS_PER_EPOCH, epoch_steps)
        index = ((offset + 1) * count - 1) // epoch_steps
        end = (index + 1) * epoch_steps // count
    return min(epoch * epoch_steps + min(end, epoch_steps), run_steps)


def chunks_done(position: int, chunks: Chunks, epoch_steps: int, run_steps: int) -> int:
    """Whole chunks behind ``position``."""
    return _count(position, chunks, epoch_steps) if position < run_steps else chunk_count(chunks, epoch_steps, run_steps)


def chunk_count(chunks: Chunks, epoch_steps: int, run_steps: int) -> int:
    """Chunks of the whole run; the last may be cut by ``run_steps``."""
    whole = _count(run_steps, chunks, epoch_steps)
    return whole + (1 if _start_of(whole, chunks, epoch_steps) < run_steps else 0)


def _per_epoch(chunks: Chunks, epoch_steps: int) -> int:
    if chunks.steps is not None:
        return math.ceil(epoch_steps / chunks.steps)
    return min(chunks.num_chunks or AUTO_CHUNKS_PER_EPOCH, epoch_steps)


def _count(position: int, chunks: Chunks, epoch_steps: int) -> int:
    epoch, offset = divmod(position, epoch_steps)
    if chunks.steps is not None:
        inside = offset // chunks.steps
    else:
        count = _per_epoch(chunks, epoch_steps)
        inside = ((offset + 1) * count - 1) // epoch_steps
    return epoch * _per_epoch(chunks, epoch_steps) + inside


def _start_of(index: int, chunks: Chunks, epoch_steps: int) -> int:
    per_epoch = _per_epoch(chunks, epoch_steps)
    epoch, inside = divmod(index, per_epoch)
    start = inside * chunks.steps if chunks.steps is not None else inside * epoch_steps // per_epoch
    return epoch * epoch_steps + start
