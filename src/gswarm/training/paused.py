"""The paused trainer: one run's unmodified TRL trainer as a coroutine, which trains only while it has the turn.

It waits inside ``on_log`` of the last granted step. With ``logging_steps=1`` transformers calls it once after every optimizer step,
when the step is wholly done: loss read, schedule advanced, nothing of the next batch drawn yet. TRL knows nothing of it, so the coroutine
is a greenlet, which can be left from within any call. All runs of a process share one thread: what libraries keep by thread (compiled
kernels, handles of a device, pools of memory) and the warmth of the core pass from each to the next.
"""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from greenlet import greenlet
from transformers import TrainerCallback

from gswarm.domain.errors import ConflictError, InvalidInputError, InvariantError, StorageError
from gswarm.domain.plan import Failure
from gswarm.training import codec, process_state
from gswarm.training.build import Workshop, trainable
from gswarm.training.digest import weights_digest
from gswarm.training.failures import NonFiniteLossError, failure_of, is_device_fault
from gswarm.training.flops import flops_per_token
from gswarm.training.process_state import ProcessState
from gswarm.training.protocol import RangeStarted, StepDone, TrainerEvent, TrainRange
from gswarm.training.run_log import run_logs
from gswarm.training.warm_start import warm_checkpoint

logger = logging.getLogger(__name__)

EVAL_NOISE = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_num_tokens")
"""Timing of an evaluation is no property of the run; the tokens are the training's, which a resume starts anew."""


@dataclass(slots=True)
class Turn:
    """One granted range of steps. ``stop`` and ``abort`` are set by another thread and read after each step."""

    order: TrainRange
    stop: threading.Event = field(default_factory=threading.Event)
    abort: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Trained:
    """The range is done; the trainer waits. The checkpoint is a copy and may be written while others train."""

    checkpoint: codec.Checkpoint
    metrics: tuple[tuple[str, float], ...]
    step_time_s: float | None
    eval_time_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The trainer was told to go; its memory is free."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The trainer failed; its memory is free."""

    failure: Failure
    is_device_lost: bool


Outcome = Trained | Ended | Broken


class Emit(Protocol):
    def __call__(self, event: TrainerEvent, /) -> None: ...


class PausedRun:
    """A run that this process holds. All calls come from one thread, and all runs of a process live in it.

    Args:
        workshop: builds the trainer.
        emit: takes the events of the run.
    """

    def __init__(self, workshop: Workshop, emit: Emit, clock: Callable[[], float] = time.time) -> None:
        self._workshop = workshop
        self._emit = emit
        self._clock = clock
        self._trainer: greenlet | None = None
        self._trained: Trained | None = None
        self.step: int | None = None
        """Where it waits; ``None`` before the first range and after the end."""

    def train(self, turn: Turn) -> Outcome:
        """Gives the turn and returns with its outcome. After ``Ended`` and ``Broken`` the run holds nothing."""
        if self._trainer is None:
            self._trainer = greenlet(self._live)
        ending: Broken | Ended | None = self._trainer.switch(turn)
        if ending is not None:
            self.step = self._trainer = None
            return ending
        trained, self._trained = self._trained, None
        assert trained is not None
        self.step = trained.checkpoint.step
        return trained

    def drop(self) -> None:
        """Ends the waiting trainer and frees what it holds. Idempotent."""
        if self._trainer is not None:
            self._trainer.switch(None)
        self.step = self._trainer = None

    def _live(self, first: Turn) -> Broken | Ended:
        """The coroutine: builds and trains."""
        with run_logs(first.order.run):
            try:
                _train(first, self._workshop, self._emit, self._wait, self._clock)
            except Exception as error:  # whatever a trainer raises is the failure of its run alone
                logger.exception("the run fails")
                return Broken(failure_of(error), is_device_fault(error))
            return Ended()

    def _wait(self, trained: Trained) -> Turn | None:
        """Hands the turn back and waits for the next one; ``None`` means the end."""
        self._trained = trained
        del trained  # its memory belongs to whoever writes it, not to a trainer that may wait for hours
        conductor = greenlet.getcurrent().parent
        assert conductor is not None
        turn: Turn | None = conductor.switch(None)
        return turn


def _train(first: Turn, workshop: Workshop, emit: Emit, wait: Callable[[Trained], Turn | None], clock: Callable[[], float]) -> None:
    """Builds the run's trainer at the first range's start and trains until it is done or told to go."""
    began_s = time.perf_counter()
    order = first.order
    if order.to_step <= order.from_step:
        raise InvalidInputError(f"the range {order.from_step}..{order.to_step} has no step")
    if order.from_step > 0 and order.checkpoint_dir is None:
        raise ConflictError(
            f"{order.run} is not hot at step {order.from_step} and came without a checkpoint", "send the range again with one"
        )
    scratch = Path(tempfile.mkdtemp(prefix="gswarm-run-"))
    try:
        pauses = _Pauses(first, emit, wait, clock, began_s)
        pauses.trainer = workshop.build(
            order.spec,
            base_dir=Path(order.base_dir),
            data_dir=Path(order.data_dir),
            total_steps=order.total_steps,
            output_dir=scratch,
            base_digest=order.base_digest,
            callbacks=[pauses],
            trusted_code=order.trusted_code,
        )
        resume = _resume_folder(order, pauses, scratch / "resume")
        pauses.trainer.train(resume_from_checkpoint=resume)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _resume_folder(order: TrainRange, pauses: _Pauses, folder: Path) -> str | None:
    if order.checkpoint_dir is None:
        return None
    checkpoint = codec.read(Path(order.checkpoint_dir))
    if order.warm_start:
        checkpoint = warm_checkpoint(checkpoint, pauses.trainer, first_step=order.from_step, steps_per_epoch=order.steps_per_epoch)
    elif checkpoint.step != order.from_step:
        raise InvalidInputError(f"the checkpoint is at step {checkpoint.step}, the range begins at {order.from_step}")
    codec.write_hf_folder(checkpoint, pauses.trainer, folder)
    pauses.start_from(checkpoint, folder)
    return str(folder)


class _Pauses(TrainerCallback):
    """Reports every step and pauses the trainer at the end of the granted range."""

    def __init__(self, turn: Turn, emit: Emit, wait: Callable[[Trained], Turn | None], clock: Callable[[], float], began_s: float) -> None:
        self.trainer: Any = None
        self._turn = turn
        self._emit = emit
        self._wait = wait
        self._clock = clock
        self._began_s = began_s
        self._was_hot = False
        self._parameters: dict[str, Any] = {}
        self._expected_weights: str | None = None
        self._resume_rng: Path | None = None
        self._tokens_before = 0
        self._tokens = 0
        self._setup_s: float | None = None
        self._step_began_s = 0.0
        self._data_wait_s = 0.0
        self._flops_per_token: float | None = None
        self._step_times_s: list[float] = []
        self._losses: list[float] = []
        self._is_evaluating = False

    def start_from(self, checkpoint: codec.Checkpoint, folder: Path) -> None:
        self._resume_rng = folder / codec.HF_RNG_FILE
        self._tokens_before = self._tokens = checkpoint.metrics.tokens
        self._expected_weights = weights_digest(checkpoint.weights)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Everything is loaded and the first batch comes next."""
        if state.global_step != self._turn.order.from_step:
            raise InvariantError(f"the trainer stands at step {state.global_step}, the range begins at {self._turn.order.from_step}")
        self._parameters = trainable(self.trainer.model)
        self._flops_per_token = flops_per_token(self.trainer.model, self._turn.order.spec)
        if self._expected_weights is not None and weights_digest(self._parameters) != self._expected_weights:
            raise InvariantError("the resumed trainer's weights are not the checkpoint's")
        self._begin_range()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """All batches of the step are here; nothing has been computed yet."""
        self._data_wait_s = time.perf_counter() - self._step_began_s

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """After every step; also after an evaluation and at the end of training, which are not steps."""
        state.log_history.clear()  # it would grow with every step, and into every checkpoint
        if self._is_evaluating or logs is None or "loss" not in logs:
            return
        if self._resume_rng is not None and not self._resume_rng.is_file():
            # transformers reads it with the first batch, and goes on without a word where it is missing
            raise StorageError("the random state of the resumed run was removed before it was read", "leave gswarm-run-* folders alone")
        if self._resume_rng is not None:
            shutil.rmtree(self._resume_rng.parent, ignore_errors=True)  # all of it is read now; a hot run may wait for hours
            self._resume_rng = None
        self._report_step(state.global_step, logs)
        if self._turn.abort.is_set():
            control.should_training_stop = True
        elif self._turn.stop.is_set() or state.global_step >= self._turn.order.to_step:
            self._pause(control)
        self._step_began_s = time.perf_counter()

    def _begin_range(self) -> None:
        order = self._turn.order
        now_s = time.perf_counter()
        self._step_times_s, self._losses = [], []
        self._setup_s = now_s - self._began_s
        self._emit(RangeStarted(order.run, order.generation, was_hot=self._was_hot, setup_s=self._setup_s))
        how = "still in memory" if self._was_hot else f"built in {self._setup_s:.1f} s"
        logger.info("steps %d to %d of %d begin, %s", order.from_step, order.to_step, order.total_steps, how)
        self._step_began_s = time.perf_counter()

    def _report_step(self, step: int, logs: dict[str, float]) -> None:
        took_s = time.perf_counter() - self._step_began_s
        loss = logs["loss"]
        self._tokens = self._tokens_before + int(logs.get("num_tokens", 0))
        order = self._turn.order
        values = {name: float(value) for name, value in logs.items() if name not in ("epoch", "num_tokens")}
        values |= {"tokens": float(self._tokens), "step_time_s": took_s, "data_wait_s": min(self._data_wait_s, took_s)}
        if self._setup_s is not None:
            # Only the first step of a range carries it: where the series has a point, a turn began.
            values["setup_s"], self._setup_s = self._setup_s, None
            if self._flops_per_token is not None:
                values["flops_per_token"] = self._flops_per_token
        finite = tuple((name, value) for name, value in values.items() if math.isfinite(value))
        self._emit(StepDone(order.run, order.generation, step, self._clock(), finite))
        if not math.isfinite(loss):
            raise NonFiniteLossError(f"the loss is {loss} at step {step}", "lower learning_rate, or check the data")
        self._step_times_s.append(took_s)
        self._losses.append(loss)

    def _pause(self, control: Any) -> None:
        state = ProcessState.capture()
        turn = self._wait(self._result(state))
        self._began_s = time.perf_counter()
        state.restore()
        if turn is None:
            control.should_training_stop = True
            return
        self._turn, self._was_hot = turn, True
        self._begin_range()

    def _result(self, state: ProcessState) -> Trained:
        began_s = time.perf_counter()
        metrics = self._evaluate()
        evaluated_s = time.perf_counter()
        metrics["train_loss"] = sum(self._losses) / len(self._losses)
        values = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
        logger.info("step %d: %s; evaluated in %.1f s", self.trainer.state.global_step, values, evaluated_s - began_s)
        return Trained(
            checkpoint=codec.capture(self.trainer, self._parameters, state.rng, codec.RunningMetrics(self._tokens)),
            metrics=tuple((name, value) for name, value in sorted(metrics.items()) if math.isfinite(value)),
            step_time_s=sum(self._step_times_s) / len(self._step_times_s),
            eval_time_s=evaluated_s - began_s,
        )

    def _evaluate(self) -> dict[str, float]:
        """Metrics on the evaluation rows; nothing that training draws from or reads is changed."""
        if self.trainer.eval_dataset is None:
            return {}
        self._is_evaluating = True
        with process_state.undisturbed():
            metrics = self.trainer.evaluate()
        self._is_evaluating = False
        self.trainer.model.train()
        return {name: float(value) for name, value in metrics.items() if name not in (*EVAL_NOISE, "epoch")}
