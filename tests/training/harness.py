"""Drives training in tests: prepared cases, an in-process conductor and a real trainer process, both spoken to by protocol messages."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Any, TypeVar

from gswarm.domain import steps
from gswarm.domain.ids import Digest, RunId
from gswarm.domain.spec import RunSpec
from gswarm.training.protocol import Quit, RangeFailed, RangeTrained, Ready, TrainerCommand, TrainerEvent, TrainRange
from gswarm.training.protocol_codec import decode_event, encode

TIMEOUT_S = 120

E = TypeVar("E")


@dataclass(frozen=True)
class Case:
    """A run that is ready to be trained."""

    spec: RunSpec
    base_dir: Path
    data_dir: Path
    total_steps: int
    steps_per_epoch: int

    def range(self, run: str, generation: int, from_step: int, to_step: int, snapshot_dir: Path, **more: Any) -> TrainRange:
        order = TrainRange(
            run=RunId(run),
            generation=generation,
            from_step=from_step,
            to_step=min(to_step, self.total_steps),
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            spec=self.spec,
            base_digest=Digest(self.base_dir.name),
            base_dir=str(self.base_dir),
            data_dir=str(self.data_dir),
            checkpoint_dir=None,
            warm_start=False,
            first_step=0,
            snapshot_dir=str(snapshot_dir),
        )
        return replace(order, **more)


class Listener:
    """Collects events and waits for the one that matters."""

    def __init__(self) -> None:
        self.seen: list[TrainerEvent] = []
        self._queue: Queue[TrainerEvent | None] = Queue()

    def put(self, event: TrainerEvent | None) -> None:
        self._queue.put(event)

    def wait(self, kind: type[E], matches: Callable[[E], bool] = lambda event: True) -> E:
        """The next event of that kind that matches; a failed range of any run ends the test unless it is waited for."""
        while True:
            event = self._queue.get(timeout=TIMEOUT_S)
            assert event is not None, "the trainer ended"
            self.seen.append(event)
            if isinstance(event, kind) and matches(event):
                return event
            assert not isinstance(event, RangeFailed), event.failure

    def trained(self, run: str, generation: int) -> RangeTrained:
        return self.wait(RangeTrained, lambda event: (event.run, event.generation) == (run, generation))

    def until_end(self) -> list[TrainerEvent]:
        """Everything up to the end of the trainer."""
        rest = []
        while (event := self._queue.get(timeout=TIMEOUT_S)) is not None:
            rest.append(event)
        self.seen += rest
        return rest


class InProcess(Listener):
    """A conductor in a thread of the test's own process."""

    def __init__(self) -> None:
        from gswarm.training.build import Workshop, make_deterministic
        from gswarm.training.conductor import Conductor

        super().__init__()
        make_deterministic()
        self.conductor = Conductor(Workshop("cpu"), self.put)
        self._thread = threading.Thread(target=self.conductor.run)
        self._thread.start()

    def send(self, command: TrainerCommand) -> None:
        self.conductor.handle(command)

    def close(self) -> None:
        self.send(Quit())
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()


class Spawned(Listener):
    """A real ``python -m gswarm.training.process``."""

    def __init__(self) -> None:
        super().__init__()
        self._ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gswarm.training.process", "--fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=trainer_env(),
        )
        theirs.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait(Ready)

    def _read(self) -> None:
        with self._ours.makefile("rb") as lines:
            for line in lines:
                self.put(decode_event(line))
        self.put(None)

    def send(self, command: TrainerCommand) -> None:
        self._ours.sendall(encode(command))

    def hang_up(self) -> None:
        self._ours.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.send(Quit())
        self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        self._ours.close()


def trainer_env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}


@contextlib.contextmanager
def closing(trainer: Any) -> Iterator[Any]:
    try:
        yield trainer
    finally:
        trainer.close()


def make_case(spec: RunSpec, base_dir: Path, data_dir: Path) -> Case:
    """Prepares the spec's data for that model."""
    from transformers import AutoTokenizer

    from gswarm.training.data import prepare_data

    meta = prepare_data(spec, AutoTokenizer.from_pretrained(base_dir), data_dir, data_dir.parent)
    return Case(spec, base_dir, data_dir, steps.total_steps(spec, meta.train_rows), steps.steps_per_epoch(spec, meta.train_rows))
