"""Decides which run of a trainer process has the turn. Commands come in from one thread, ranges are trained in another.

Ranges are trained in the order in which they came. A range's end hands the device to the next one at once: the snapshot is written and
hashed in a third thread while that one trains.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import assert_never

from gswarm.domain.ids import RunId
from gswarm.domain.plan import Failure
from gswarm.training import codec
from gswarm.training.build import Workshop
from gswarm.training.digest import weights_digest
from gswarm.training.failures import failure_of
from gswarm.training.memory import release_memory
from gswarm.training.paused import Broken, Emit, Ended, PausedRun, Trained, Turn
from gswarm.training.protocol import (
    AbortRange,
    DropRun,
    Quit,
    RangeDropped,
    RangeFailed,
    RangeTrained,
    StopRange,
    TrainerCommand,
    TrainRange,
)

logger = logging.getLogger(__name__)

QUEUE_LIMIT = 64
"""Ranges that wait; one more is answered as failed."""
HOT_RUNS_LIMIT = 64
"""Runs held in memory; beyond it the one that waits longest goes, and is built from its checkpoint when its turn comes."""
SNAPSHOTS_LIMIT = 2
"""Captured checkpoints that wait to be written; training waits for the disk beyond that."""


class Conductor:
    """The queue of ranges and the runs in memory. ``handle`` and ``drain`` may be called from any thread.

    Args:
        workshop: builds trainers.
        emit: takes events; may be called from any thread.
        hot_runs_limit: runs that are held in memory at once.
    """

    def __init__(self, workshop: Workshop, emit: Emit, hot_runs_limit: int = HOT_RUNS_LIMIT) -> None:
        self._workshop = workshop
        self._emit = emit
        self._hot_runs_limit = hot_runs_limit
        self._changed = threading.Condition()
        self._queue: deque[Turn] = deque()
        self._active: Turn | None = None
        self._drops: deque[RunId] = deque()
        self._is_ending = False
        self._hot: dict[RunId, PausedRun] = {}
        """In order of last use; touched by the training thread only."""
        self._finished: list[PausedRun] = []
        """Trained to the end and still in memory: taken apart when the range that comes next is not hot, so that no hot one waits."""
        self._snapshots = _SnapshotWriter(emit, self._drop_soon)
        self.is_device_lost = False

    # ---- commands, from any thread --------------------------------------------------------------------------------

    def handle(self, command: TrainerCommand) -> None:
        with self._changed:
            match command:
                case TrainRange():
                    self._enqueue(command)
                case StopRange(run, generation):
                    self._stop(run, generation)
                case AbortRange(run, generation):
                    self._abort(lambda turn: (turn.order.run, turn.order.generation) == (run, generation))
                    self._drops.append(run)
                case DropRun(run):
                    self._abort(lambda turn: turn.order.run == run)
                    self._drops.append(run)
                case Quit():
                    self._abort(lambda turn: True)
                    self._is_ending = True
                case _:
                    assert_never(command)
            self._changed.notify()

    def drain(self) -> None:
        """Finish the step, snapshot and report what is training, give back what waits, and end."""
        with self._changed:
            if self._active is not None:
                self._active.stop.set()
            while self._queue:
                self._give_back(self._queue.popleft())
            self._is_ending = True
            self._changed.notify()

    def _enqueue(self, order: TrainRange) -> None:
        if self._is_ending:
            self._emit(RangeDropped(order.run, order.generation))
        elif len(self._queue) >= QUEUE_LIMIT:
            self._emit(RangeFailed(order.run, order.generation, Failure("limit", f"{QUEUE_LIMIT} ranges wait already")))
        else:
            self._queue.append(Turn(order))

    def _stop(self, run: RunId, generation: int) -> None:
        """A range that is not here any more has been answered: nothing is done."""
        if self._active is not None and (self._active.order.run, self._active.order.generation) == (run, generation):
            self._active.stop.set()
        for turn in [turn for turn in self._queue if (turn.order.run, turn.order.generation) == (run, generation)]:
            self._queue.remove(turn)
            self._give_back(turn)

    def _abort(self, concerns: Callable[[Turn], bool]) -> None:
        if self._active is not None and concerns(self._active):
            self._active.abort.set()
        self._queue = deque(turn for turn in self._queue if not concerns(turn))

    def _give_back(self, turn: Turn) -> None:
        self._emit(RangeDropped(turn.order.run, turn.order.generation))

    def _drop_soon(self, run: RunId) -> None:
        with self._changed:
            self._drops.append(run)
            self._changed.notify()

    # ---- the training thread --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Trains what is queued until told to end. Returns when every snapshot is written and every trainer is gone."""
        while not self.is_device_lost:
            if not self._is_next_hot():
                self._dismiss_finished()
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._drops or self._is_ending)
                drops, self._drops = self._drops, deque()
                if not drops:
                    if not self._queue:
                        break
                    self._active = self._queue.popleft()
            for run in drops:
                self._forget(run)
            if self._active is not None:
                self._conduct(self._active)
                with self._changed:
                    self._active = None
        self._snapshots.close()
        if not self.is_device_lost:
            self._dismiss_finished()
            for run in list(self._hot):
                self._forget(run)

    def _is_next_hot(self) -> bool:
        with self._changed:
            return bool(self._queue) and self._queue[0].order.run in self._hot

    def _conduct(self, turn: Turn) -> None:
        order = turn.order
        run = self._hot.pop(order.run, None)
        if run is not None and run.step != order.from_step:
            run.drop()
            run = None
        if run is None:
            self._make_room()
            run = PausedRun(self._workshop, self._emit)
        outcome = run.train(turn)
        match outcome:
            case Trained():
                self._snapshots.put(order, outcome)
                if outcome.checkpoint.step < order.total_steps:
                    self._hot[order.run] = run
                else:
                    self._finished.append(run)
            case Broken(failure, is_device_lost):
                self._emit(RangeFailed(order.run, order.generation, failure))
                self.is_device_lost = is_device_lost
                release_memory()
            case Ended():
                release_memory()
            case _:
                assert_never(outcome)

    def _make_room(self) -> None:
        while len(self._hot) >= self._hot_runs_limit:
            with self._changed:
                wanted = {turn.order.run for turn in self._queue}
            self._forget(next((run for run in self._hot if run not in wanted), next(iter(self._hot))))

    def _forget(self, run: RunId) -> None:
        held = self._hot.pop(run, None)
        if held is not None:
            held.drop()
            del held
            release_memory()

    def _dismiss_finished(self) -> None:
        if self._finished:
            for run in self._finished:
                run.drop()
            del run
            self._finished.clear()
            release_memory()


class _SnapshotWriter:
    """Writes and hashes captured checkpoints in a thread of its own, in order."""

    def __init__(self, emit: Emit, drop: Callable[[RunId], None]) -> None:
        self._emit = emit
        self._drop = drop
        self._queue: Queue[tuple[TrainRange, Trained] | None] = Queue(SNAPSHOTS_LIMIT)
        self._thread = threading.Thread(target=self._write_all, name="snapshots", daemon=True)
        self._thread.start()

    def put(self, order: TrainRange, trained: Trained) -> None:
        """Waits while too many are under way."""
        self._queue.put((order, trained))

    def close(self) -> None:
        """Returns when everything is written and reported."""
        self._queue.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            order, trained = item
            del item
            try:
                self._emit(_write_snapshot(order, trained))
            except Exception as error:
                logger.exception("the snapshot of %s at step %d", order.run, trained.checkpoint.step)
                self._emit(RangeFailed(order.run, order.generation, failure_of(error)))
                self._drop(order.run)
            del trained


def _write_snapshot(order: TrainRange, trained: Trained) -> RangeTrained:
    folder = Path(order.snapshot_dir)
    folder.mkdir(parents=True, exist_ok=True)
    codec.write(trained.checkpoint, folder)
    return RangeTrained(
        run=order.run,
        generation=order.generation,
        reached_step=trained.checkpoint.step,
        snapshot_dir=order.snapshot_dir,
        weights_digest=weights_digest(trained.checkpoint.weights),
        metrics=trained.metrics,
        step_time_s=trained.step_time_s,
        eval_time_s=trained.eval_time_s,
    )
