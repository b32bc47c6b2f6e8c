"""Pretended trainer processes: they take as long as their device, train nothing, and remember who trained each step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from blake3 import blake3

from gswarm.datapool.store import BlobStore
from gswarm.domain.errors import ConflictError, GswarmError, NotFoundError
from gswarm.domain.ids import Digest, RunId
from gswarm.domain.plan import Failure
from gswarm.simulator.lineage import BASE_ROOT, Weights, load_weights
from gswarm.simulator.process import Process
from gswarm.training.protocol import (
    AbortRange,
    DropRun,
    Quit,
    RangeDropped,
    RangeFailed,
    RangeTrained,
    Ready,
    StopRange,
    TrainerCommand,
    TrainerEvent,
    TrainRange,
)

START_S = (0.3, 3.0)
SETUP_S = (0.02, 0.6)
SNAPSHOT_S = (0.01, 0.3)

NAN_LOSS = Failure("nan_loss", "the loss is not a number")
DIED = Failure("trainer_died", "the trainer process died", machine_suspect=True)

Key = tuple[RunId, int]


class SimSnapshots:
    """Stands for ``client.snapshots.SnapshotDirs``: the folders' names, and what was put into them."""

    def __init__(self) -> None:
        self.content: dict[str, Weights] = {}
        self.is_full = False

    def make(self, run: RunId, generation: int, _need_bytes: int) -> Path:
        """Raises OSError."""
        if self.is_full:
            raise OSError("no space left in pretended shared memory")
        return Path(f"{run}-{generation}")

    def remove(self, run: RunId, generation: int) -> None:
        self.content.pop(f"{run}-{generation}", None)

    def discard(self, path: str) -> None:
        self.content.pop(path, None)


class Trainer:
    """One trainer process of one slot. It works through its queue; a step is one timer."""

    def __init__(self, client: SimTrainers, slot_index: int, epoch: int, token: int) -> None:
        self._client = client
        self._process = client.process
        self._slot_index = slot_index
        self.epoch = epoch
        self._token = token
        self.is_dead = False
        self._is_ready = False
        self._queue: list[TrainRange] = []
        self._present: TrainRange | None = None
        self._weights: Weights | None = None
        self._stopped: set[Key] = set()
        self._aborted: set[Key] = set()
        self._drops: list[RunId] = []
        self.hot: dict[RunId, Weights] = {}
        self.fails_next = False

    def start(self) -> None:
        self._later(START_S, self._up)

    def _up(self) -> None:
        self._is_ready = True
        self._say(Ready(self._token, "cpu"))
        self._next()

    def _later(self, between_s: tuple[float, float], call: Callable[[], None]) -> None:
        self._process.call_later(self._process.random.uniform(*between_s), lambda: None if self.is_dead else call())

    def _say(self, event: TrainerEvent) -> None:
        self._client.on_event(self._slot_index, self.epoch, event)

    def take(self, command: TrainerCommand) -> None:
        match command:
            case TrainRange():
                self._queue.append(command)
                self._next()
            case StopRange(run, generation):
                self._stopped.add((run, generation))
            case AbortRange(run, generation):
                self._abort(lambda one: (one.run, one.generation) == (run, generation), run)
            case DropRun(run):
                self._abort(lambda one: one.run == run, run)
            case Quit():
                self.is_dead = True
            case _:
                assert_never(command)

    def _abort(self, concerns: Callable[[TrainRange], bool], run: RunId) -> None:
        """As the conductor does: what is queued goes, what is training goes at its next step, then the run's memory; no answer."""
        if self._present is not None and concerns(self._present):
            self._aborted.add((self._present.run, self._present.generation))
        self._queue = [one for one in self._queue if not concerns(one)]
        self._drops.append(run)
        self._next()

    def _next(self) -> None:
        if self._present is None:
            for run in self._drops:
                self.hot.pop(run, None)
            self._drops.clear()
        if self._is_ready and self._present is None and self._queue:
            self._present = self._queue.pop(0)
            self._later(SETUP_S, self._begin)

    def _begin(self) -> None:
        order = self._present
        assert order is not None
        key = (order.run, order.generation)
        if key in self._aborted:
            self._over()
        elif key in self._stopped:
            self._over()
            self._say(RangeDropped(*key))
        else:
            try:
                self._weights = self._built(order)
            except GswarmError as error:
                self._fail(Failure(error.code, str(error)))
            else:
                self._train()
        self._next()

    def _built(self, order: TrainRange) -> Weights:
        """Raises ConflictError when the run is not hot at that step and there is no checkpoint to build it from."""
        hot = self.hot.pop(order.run, None)
        if hot is not None and hot.step == order.from_step:
            return hot
        if order.checkpoint_dir is not None:
            try:
                found = load_weights(self._client.store, Digest(order.checkpoint_dir))
            except NotFoundError as error:
                self._client.on_wrong(f"the checkpoint of {order.run} is gone under its trainer: {error}")
                raise
            weights = Weights(order.checkpoint_dir, order.first_step) if order.warm_start else found
        elif order.from_step == 0:
            weights = Weights(BASE_ROOT, order.first_step)
        else:
            raise ConflictError(f"{order.run} is not hot at step {order.from_step}")
        if weights.step != order.from_step:
            self._client.on_wrong(f"{order.run} generation {order.generation} begins at {weights.step} instead of {order.from_step}")
        return weights

    def _train(self) -> None:
        step_s = self._client.step_s * self._process.random.uniform(0.8, 1.3)
        self._later((step_s, step_s), self._step_done)

    def _step_done(self) -> None:
        order, weights = self._present, self._weights
        assert order is not None
        assert weights is not None
        key = (order.run, order.generation)
        if self.fails_next:
            self.fails_next = False
            self._fail(NAN_LOSS if self._process.random.randrange(3) == 0 else DIED)
            return
        weights = self._weights = weights.trained(self._token)
        if key in self._aborted:
            self._over()
            self._next()
        elif weights.step >= order.to_step or key in self._stopped:
            self._later(SNAPSHOT_S, self._trained)
        else:
            self._train()

    def _trained(self) -> None:
        order, weights = self._present, self._weights
        assert order is not None
        assert weights is not None
        self._over()
        if (order.run, order.generation) not in self._aborted:
            self.hot[order.run] = weights
            self._client.snapshots.content[order.snapshot_dir] = weights
            digest = Digest(blake3(weights.to_bytes(order.run)).hexdigest())
            metrics = (("eval_loss", float(weights.step % 4)),)
            done = RangeTrained(order.run, order.generation, weights.step, order.snapshot_dir, digest, metrics, self._client.step_s, 0.0)
            self._say(done)
        self._next()

    def _fail(self, failure: Failure) -> None:
        order = self._present
        assert order is not None
        self._over()
        self._say(RangeFailed(order.run, order.generation, failure))
        self._next()

    def _over(self) -> None:
        self._present = self._weights = None


class SimTrainers:
    """Stands for ``client.trainers.Trainers``.

    Args:
        step_s: how long the device takes for a step.
        on_event, on_exit: as there.
        on_wrong: told of what a correct client never does.
        new_token: a number that no trainer process had before.
    """

    def __init__(
        self,
        process: Process,
        store: BlobStore,
        snapshots: SimSnapshots,
        step_s: float,
        on_event: Callable[[int, int, TrainerEvent], None],
        on_exit: Callable[[int, int, Failure, bool], None],
        on_wrong: Callable[[str], None],
        new_token: Callable[[], int],
    ) -> None:
        self.process = process
        self.store = store
        self.snapshots = snapshots
        self.step_s = step_s
        self.on_event = on_event
        self.on_exit = on_exit
        self.on_wrong = on_wrong
        self._new_token = new_token
        self.running: dict[int, Trainer] = {}

    def start(self, slot_index: int, epoch: int) -> None:
        if slot_index in self.running:
            self.on_wrong(f"two trainer processes on slot {slot_index}")
        trainer = self.running[slot_index] = Trainer(self, slot_index, epoch, self._new_token())
        trainer.start()

    def kill(self, slot_index: int, epoch: int) -> None:
        running = self.running.get(slot_index)
        if running is not None and running.epoch == epoch:
            running.is_dead = True
            del self.running[slot_index]

    def send(self, slot_index: int, epoch: int, command: TrainerCommand) -> None:
        running = self.running.get(slot_index)
        if running is not None and running.epoch == epoch:
            running.take(command)

    def crash(self, slot_index: int) -> None:
        """The trainer process dies by itself."""
        running = self.running.pop(slot_index, None)
        if running is not None:
            running.is_dead = True
            self.process.call_soon(self.on_exit, slot_index, running.epoch, DIED, False)
