"""The trainer processes of all slots: at most one a slot, the next one only when the one before is gone."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

from gswarm.client.devices import Devices
from gswarm.client.trainer_process import TRAINER_COMMAND, Deadlines, TrainerProcess
from gswarm.domain.errors import ConflictError
from gswarm.domain.plan import Failure, SlotSpec
from gswarm.training.protocol import TrainerCommand, TrainerEvent

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Hears what is said on all slots, for the record."""

    def sent(self, slot_index: int, command: TrainerCommand) -> None: ...

    def heard(self, slot_index: int, event: TrainerEvent) -> None: ...

    def ended(self, slot_index: int) -> None: ...


class Trainers:
    """Starts, feeds and ends trainer processes. A process is named by slot index and epoch.

    Args:
        logs_dir: what the processes print; their temporary files are in ``scratch`` beside it, until the next one starts.
        on_event: told slot index, epoch and message.
        on_exit: told slot index, epoch, the failure, and whether the process accounted for its ranges before.
        devices: keeps a process away from a slot where an earlier client's still is.
        listener: told everything ahead of whom it is for.
    """

    def __init__(
        self,
        slots: Sequence[SlotSpec],
        logs_dir: Path,
        on_event: Callable[[int, int, TrainerEvent], None],
        on_exit: Callable[[int, int, Failure, bool], None],
        deadlines: Deadlines,
        devices: Devices,
        command: tuple[str, ...] = TRAINER_COMMAND,
        listener: Listener | None = None,
    ) -> None:
        self._slots = slots
        self._listener = listener
        self._logs_dir = logs_dir
        self._scratch = logs_dir.with_name("scratch")
        self._on_event = on_event
        self._on_exit = on_exit
        self._deadlines = deadlines
        self._devices = devices
        self._command = command
        self._running: dict[int, tuple[int, TrainerProcess]] = {}
        self._turns = {index: asyncio.Lock() for index in range(len(slots))}
        self._changes: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def pids(self) -> dict[int, int]:
        """Process ids by slot index."""
        return {index: process.pid for index, (_, process) in self._running.items()}

    def start(self, slot_index: int, epoch: int) -> None:
        self._change(self._start(slot_index, epoch))

    def kill(self, slot_index: int, epoch: int) -> None:
        self._change(self._kill(slot_index, epoch))

    def send(self, slot_index: int, epoch: int, command: TrainerCommand) -> None:
        """A process that is gone gets nothing; its end is told by ``on_exit``."""
        running = self._running.get(slot_index)
        if running is not None and running[0] == epoch:
            self._tell(lambda listener: listener.sent(slot_index, command))
            running[1].send(command)

    async def close(self) -> None:
        """Kills all; none is left when this returns."""
        self._is_closed = True
        while self._changes:
            await asyncio.wait(self._changes)
        await asyncio.gather(*(self._kill(index, epoch) for index, (epoch, _) in list(self._running.items())))
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)

    def _change(self, change: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    async def _start(self, slot_index: int, epoch: int) -> None:
        async with self._turns[slot_index]:
            if self._is_closed:
                return
            slot = self._slots[slot_index]
            try:
                async with self._devices.seat(f"slot-{slot_index}") as seat_fd:
                    scratch = await asyncio.to_thread(_emptied, self._scratch / str(slot_index))
                    process = await TrainerProcess.start(
                        slot,
                        self._logs_dir / f"slot-{slot_index}.log",
                        lambda event: self._heard(slot_index, epoch, event),
                        lambda failure, accounted: self._exited(slot_index, epoch, failure, accounted),
                        self._deadlines,
                        self._command,
                        scratch,
                        seat_fd,
                    )
            except (OSError, ConflictError) as error:
                failure = Failure("trainer_died", f"the trainer process cannot start: {error}", machine_suspect=True)
                self._on_exit(slot_index, epoch, failure, False)
                return
            self._running[slot_index] = (epoch, process)
            logger.info("slot %d: trainer process %d on %s", slot_index, process.pid, slot.device)

    async def _kill(self, slot_index: int, epoch: int) -> None:
        async with self._turns[slot_index]:
            running = self._running.get(slot_index)
            if running is not None and running[0] == epoch:
                await running[1].kill()
                self._running.pop(slot_index, None)
                self._tell(lambda listener: listener.ended(slot_index))

    def _heard(self, slot_index: int, epoch: int, event: TrainerEvent) -> None:
        self._tell(lambda listener: listener.heard(slot_index, event))
        self._on_event(slot_index, epoch, event)

    def _tell(self, what: Callable[[Listener], None]) -> None:
        """Training does not depend on who listens: one that fails hears nothing more."""
        if self._listener is None:
            return
        try:
            what(self._listener)
        except Exception:
            logger.exception("what the trainers do is not measured any more")
            self._listener = None

    def _exited(self, slot_index: int, epoch: int, failure: Failure, accounted: bool) -> None:
        running = self._running.get(slot_index)
        if running is not None and running[0] == epoch:
            del self._running[slot_index]
            self._tell(lambda listener: listener.ended(slot_index))
        self._on_exit(slot_index, epoch, failure, accounted)


def _emptied(folder: Path) -> Path:
    """What a process that was killed has left is as large as its optimizer."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder
