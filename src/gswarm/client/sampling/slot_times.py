"""What training does with a slot: how its time divides, and what its steps say. Reads no clock.

The trainer process tells of a range's first step, of every step and of its end; the time between two ranges is told apart once the next
one has begun, as that one knows how long it took to set up.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from gswarm.domain.ids import RunId
from gswarm.training import protocol

WINDOW_S = 1.0
HELD_MAX_S = 3600.0
"""How long a time after a range's last step stays open; an evaluation that takes longer counts as training from then on."""
CLOCK_SET_S = 60.0
"""A clock that goes back by more was set, and what came before says nothing."""
RUNS_MAX = 256
NAN = math.nan


class Use(StrEnum):
    TRAIN = "train"
    """Steps and evaluations."""
    SWAP = "swap"
    """A range is being set up: its base loaded, its trainer built or taken up again."""
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Shares:
    """Of one second, which ends at ``end_s``."""

    end_s: float
    train: float
    swap: float
    idle: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Of the steps since the last look. NaN is not known."""

    run: RunId
    at_s: float
    step_time_s: float
    tokens_per_s: float
    samples_per_s: float
    mfu: float
    data_wait: float


@dataclass(slots=True)
class _Steps:
    """Sums over the steps of one run."""

    count: int = 0
    at_s: float = 0.0
    time_s: float = 0.0
    waited_s: float = 0.0
    waits_known_s: float = 0.0
    tokens: float = 0.0
    tokens_known_s: float = 0.0


@dataclass(slots=True)
class _Run:
    samples_per_step: int = 0
    step: int = 0
    """The last that was seen here."""
    tokens_before: float | None = None
    """Of the whole run, up to that step."""
    flops_per_token: float = NAN


class SlotMeter:
    """One slot.

    Args:
        now_s: seconds since the epoch, as all times here.
        peak_flops: what the device can do in a second; NaN where that is not known.
    """

    def __init__(self, now_s: float, peak_flops: float = NAN) -> None:
        self._peak_flops = peak_flops
        self._pending: list[tuple[RunId, int, int]] = []
        """Ranges that the process has and has not finished: run, generation, last step."""
        self._use: Use | None = Use.IDLE
        """``None`` after a range's last step: evaluation, or the next one's set-up already."""
        self._last_step_s = now_s
        self._parts: deque[tuple[float, Use]] = deque()
        """What the time up to a moment was used for, from ``_window_s`` on."""
        self._known_s = self._window_s = now_s
        self._runs: dict[RunId, _Run] = {}
        self._steps: dict[RunId, _Steps] = {}
        self._range: tuple[RunId, int] | None = None
        """Run and generation of the range that began last: the process trains it, or is done with it. The next is often the same run's."""

    # ---- what happens ----------------------------------------------------------------------------------------------

    def sent(self, command: protocol.TrainerCommand, now_s: float) -> None:
        match command:
            case protocol.TrainRange(run=run, generation=generation, to_step=to_step, spec=spec):
                if not self._pending and self._use is Use.IDLE:
                    self._turn(Use.SWAP, now_s)
                self._pending.append((run, generation, to_step))
                self._run_of(run).samples_per_step = spec.samples_per_step
            case protocol.AbortRange(run, generation):
                self._over(run, generation, now_s)
            case _:
                pass

    def heard(self, event: protocol.TrainerEvent, now_s: float) -> None:
        match event:
            case protocol.RangeStarted(run=run, generation=generation, setup_s=setup_s):
                if self._use is not Use.SWAP:
                    self._mark(Use.TRAIN, now_s - setup_s)
                self._mark(Use.SWAP, now_s)
                self._use, self._range = Use.TRAIN, (run, generation)
            case protocol.StepDone():
                self._step(event)
            case protocol.RangeTrained(run=run, generation=generation, eval_time_s=eval_time_s):
                if self._use is None and self._range == (run, generation):
                    self._mark(Use.TRAIN, min(self._last_step_s + eval_time_s, now_s))
                    self._use = Use.IDLE
                self._over(run, generation, now_s)
            case protocol.RangeDropped(run, generation) | protocol.RangeFailed(run=run, generation=generation):
                self._over(run, generation, now_s)
            case protocol.Ready() | protocol.Log():
                pass

    def ended(self, now_s: float) -> None:
        """The process is gone, and all that it had."""
        self._pending.clear()
        self._turn(Use.IDLE, now_s)
        self._range = None

    @property
    def run(self) -> RunId | None:
        """Whose range began last."""
        return self._range[0] if self._range is not None else None

    def _step(self, event: protocol.StepDone) -> None:
        values = dict(event.values)
        run, steps = self._run_of(event.run), self._steps.setdefault(event.run, _Steps())
        took_s = values.get("step_time_s", 0.0)
        steps.count += 1
        steps.at_s = event.at_s
        steps.time_s += took_s
        run.flops_per_token = values.get("flops_per_token", run.flops_per_token)
        if "data_wait_s" in values:
            steps.waited_s += values["data_wait_s"]
            steps.waits_known_s += took_s
        if event.step != run.step + 1:
            run.tokens_before = None  # it trained elsewhere in between, or goes back to a checkpoint
        run.step = event.step
        if "tokens" in values:
            if run.tokens_before is not None and values["tokens"] >= run.tokens_before:
                steps.tokens += values["tokens"] - run.tokens_before
                steps.tokens_known_s += took_s
            run.tokens_before = values["tokens"]
        self._last_step_s = event.at_s
        if any(run_id == event.run and generation == event.generation and event.step >= to for run_id, generation, to in self._pending):
            self._mark(Use.TRAIN, event.at_s)
            self._use = None

    def _run_of(self, run: RunId) -> _Run:
        if run not in self._runs and len(self._runs) >= RUNS_MAX:
            del self._runs[next(iter(self._runs))]
        return self._runs.setdefault(run, _Run())

    def _over(self, run: RunId, generation: int, now_s: float) -> None:
        self._pending = [one for one in self._pending if one[:2] != (run, generation)]
        if self._use is None or (self._use is Use.TRAIN and self._range != (run, generation)):
            return  # the next range trains already, or is told of in a moment
        if not self._pending:
            self._turn(Use.IDLE, now_s)
        elif self._use is Use.IDLE or self._range == (run, generation):
            self._turn(Use.SWAP, now_s)

    def _turn(self, use: Use, now_s: float) -> None:
        self._mark(self._use or Use.TRAIN, now_s)
        self._use = use

    def _mark(self, use: Use, until_s: float) -> None:
        if until_s > self._known_s:
            self._parts.append((until_s, use))
            self._known_s = until_s

    # ---- what comes of it ------------------------------------------------------------------------------------------

    def shares(self, now_s: float) -> list[Shares]:
        """The seconds that are over and known, each once."""
        if not -CLOCK_SET_S < now_s - self._known_s < 2 * HELD_MAX_S:
            self._parts.clear()
            self._known_s = self._window_s = now_s
        if self._use is not None:
            self._mark(self._use, now_s)
        elif now_s - self._known_s > HELD_MAX_S:
            self._turn(Use.TRAIN, now_s)
        found = []
        while self._window_s + WINDOW_S <= self._known_s:
            found.append(self._close_window())
        return found

    def _close_window(self) -> Shares:
        end_s = self._window_s + WINDOW_S
        used = dict.fromkeys(Use, 0.0)
        begin_s = self._window_s
        while begin_s < end_s:
            until_s, use = self._parts[0]
            used[use] += min(until_s, end_s) - begin_s
            begin_s = min(until_s, end_s)
            if until_s <= end_s:
                self._parts.popleft()
        self._window_s = end_s
        return Shares(end_s, used[Use.TRAIN] / WINDOW_S, used[Use.SWAP] / WINDOW_S, used[Use.IDLE] / WINDOW_S)

    def progress(self) -> list[Progress]:
        """Of every run that made steps since the last call."""
        steps_of, self._steps = self._steps, {}
        return [self._progress(run, steps) for run, steps in steps_of.items()]

    def _progress(self, run_id: RunId, steps: _Steps) -> Progress:
        run = self._run_of(run_id)
        tokens_per_s = _per(steps.tokens, steps.tokens_known_s)
        return Progress(
            run=run_id,
            at_s=steps.at_s,
            step_time_s=steps.time_s / steps.count,
            tokens_per_s=tokens_per_s,
            samples_per_s=_per(steps.count * run.samples_per_step, steps.time_s) if run.samples_per_step else NAN,
            mfu=tokens_per_s * run.flops_per_token / self._peak_flops,
            data_wait=min(_per(steps.waited_s, steps.waits_known_s), 1.0),
        )


def _per(amount: float, time_s: float) -> float:
    return amount / time_s if time_s > 0 else NAN
