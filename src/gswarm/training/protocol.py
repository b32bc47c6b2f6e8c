"""What a client and its trainer process say to each other, one JSON object a line over a socket pair.

Nothing is pickled. The trainer process is ``python -m gswarm.training.process --fd N``; its stdout and stderr go to the slot's log file.
This module imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from gswarm.domain.ids import Digest, RunId
from gswarm.domain.plan import Failure
from gswarm.domain.spec import RunSpec

# ---- client -> trainer process ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrainRange:
    """Train the run from ``from_step`` to ``to_step``; queued behind what is being trained.

    If the run is hot at ``from_step`` it goes on; else it is built anew from ``checkpoint_dir`` (or the base).
    At the range's end (or where it was stopped) the process evaluates, writes a snapshot and answers ``RangeTrained``.
    """

    run: RunId
    generation: int
    from_step: int
    to_step: int
    total_steps: int
    steps_per_epoch: int
    spec: RunSpec
    base_digest: Digest
    base_dir: str
    """The unpacked base model: config, tokenizer, safetensors. Read-only."""
    data_dir: str
    """The unpacked prepared data set. Read-only."""
    checkpoint_dir: str | None
    """The unpacked checkpoint (``gswarm.training.codec`` layout), if any."""
    warm_start: bool
    """The checkpoint is a parent's: weights and fitting moments only, at this run's own ``from_step``."""
    first_step: int
    snapshot_dir: str
    """Empty, on /dev/shm where there is room: the snapshot's files are written here."""
    trusted_code: tuple[str, ...] = ()
    """Digests of models' code that an admin of the host has consented to (``gswarm.training.base_files``)."""


@dataclass(frozen=True, slots=True)
class StopRange:
    """Stop that range at the next step's end; if it has not begun, answer ``RangeDropped``."""

    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class AbortRange:
    """The grant is over: drop the range and the run's memory at the next step's end, answer nothing."""

    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class DropRun:
    """Free what is held of the run."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Quit:
    """End the process at the next step's end, without snapshots."""


TrainerCommand = TrainRange | StopRange | AbortRange | DropRun | Quit

# ---- trainer process -> client ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The process has imported what it needs and listens."""

    pid: int
    device: str


@dataclass(frozen=True, slots=True)
class RangeStarted:
    """The first step of the range begins now (set-up is over)."""

    run: RunId
    generation: int
    was_hot: bool
    setup_s: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimizer step. ``values`` holds loss, learning_rate, grad_norm, step_time_s, data_wait_s and tokens where known; at a range's
    first step also setup_s, as in ``RangeStarted``, and flops_per_token."""

    run: RunId
    generation: int
    step: int
    at_s: float
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class RangeTrained:
    """The range is done up to ``reached_step`` and the process already trains what is queued behind it.

    The files of the snapshot are complete in ``snapshot_dir``; the client owns and removes them.
    """

    run: RunId
    generation: int
    reached_step: int
    snapshot_dir: str
    weights_digest: Digest
    metrics: tuple[tuple[str, float], ...]
    step_time_s: float | None
    eval_time_s: float


@dataclass(frozen=True, slots=True)
class RangeDropped:
    """No step of the range was trained."""

    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class RangeFailed:
    """The run ended in this process; its memory is freed and the process goes on with others."""

    run: RunId
    generation: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class Log:
    run: RunId
    at_s: float
    level: str
    text: str


TrainerEvent = Ready | RangeStarted | StepDone | RangeTrained | RangeDropped | RangeFailed | Log
