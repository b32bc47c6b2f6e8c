"""One trainer process: its start, its messages, its deadlines and its end.

The process leads a session of its own, so that its end takes everything that it started along. It is watched from outside: what
does not answer in time is killed and reported as hung. Its last messages are always delivered before its end is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gswarm.client.processes import how_it_ended, kill_group, slot_environment
from gswarm.client.trainer_log import CappedLog
from gswarm.domain.errors import CorruptDataError
from gswarm.domain.ids import RunId
from gswarm.domain.plan import Failure, SlotSpec
from gswarm.training import protocol
from gswarm.training.process import DEVICE_LOST_EXIT_CODE
from gswarm.training.protocol_codec import MAX_LINE_BYTES, decode_event, encode

logger = logging.getLogger(__name__)

TRAINER_COMMAND = (sys.executable, "-m", "gswarm.training.process")
ACCOUNTED_EXIT_CODES = (0, DEVICE_LOST_EXIT_CODE)
"""The process has said about every range what became of it, or given it back, before it ends with these."""
OnExit = Callable[[Failure, bool], None]
"""Takes why the process ended, and whether it accounted for its ranges before."""
LAST_WORDS_S = 5.0
"""How long messages are read on after the process is gone."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a trainer process may be silent."""

    start_s: float = 600.0
    """From the start to ``Ready``: importing torch."""
    setup_s: float = 1800.0
    """From a range's turn to its first step: loading a base."""
    step_min_s: float = 300.0
    step_factor: float = 20.0
    """A step may take this many times the one before it."""
    evaluation_s: float = 3600.0
    """From a range's last step to the snapshot's end."""


@dataclass(slots=True)
class _Pending:
    to_step: int
    is_stopping: bool = False


class Watchdog:
    """How long to wait for the next message, given the messages so far. Reads no clock."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._pending: dict[tuple[RunId, int], _Pending] = {}
        self.allowed_s: float | None = deadlines.start_s
        """Seconds from now to the next message; ``None``: nothing is owed."""
        self.waits_for = "its start"

    def sent(self, command: protocol.TrainerCommand) -> bool:
        """Notes a command. True if the time to wait changed."""
        match command:
            case protocol.TrainRange(run=run, generation=generation, to_step=to_step):
                self._pending[(run, generation)] = _Pending(to_step)
                if len(self._pending) > 1:
                    return False
                self._next_range()
            case protocol.StopRange(run, generation):
                pending = self._pending.get((run, generation))
                if pending is None:
                    return False
                pending.is_stopping = True
                self._wait(self._deadlines.evaluation_s, "the end of a stopped range")
            case protocol.AbortRange(run, generation):
                self._done((run, generation))
            case protocol.DropRun() | protocol.Quit():
                return False
        return True

    def heard(self, event: protocol.TrainerEvent) -> None:
        match event:
            case protocol.Ready():
                self._next_range()
            case protocol.RangeStarted():
                self._wait(self._deadlines.setup_s, "the first step")
            case protocol.StepDone(run=run, generation=generation, step=step, values=values):
                took_s = dict(values).get("step_time_s", 0.0)
                allowed_s = max(self._deadlines.step_min_s, self._deadlines.step_factor * took_s)
                pending = self._pending.get((run, generation))
                if pending is not None and (pending.is_stopping or step >= pending.to_step):
                    self._wait(max(allowed_s, self._deadlines.evaluation_s), "evaluation and snapshot")
                else:
                    self._wait(allowed_s, f"the step after {step} of {run}")
            case protocol.RangeTrained() | protocol.RangeDropped() | protocol.RangeFailed():
                self._done((event.run, event.generation))
            case protocol.Log():
                pass

    def _done(self, key: tuple[RunId, int]) -> None:
        self._pending.pop(key, None)
        self._next_range()

    def _next_range(self) -> None:
        if self._pending:
            self._wait(self._deadlines.setup_s, "the next range's first step")
        else:
            self.allowed_s = None

    def _wait(self, allowed_s: float, what: str) -> None:
        self.allowed_s, self.waits_for = allowed_s, what


class TrainerProcess:
    """A running trainer process. Made by ``start``; ``on_event`` and ``on_exit`` are called in the event loop.

    ``on_exit`` is called once, after the last event, and never after ``kill`` was called.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        log: CappedLog,
        deadlines: Deadlines,
        on_event: Callable[[protocol.TrainerEvent], None],
        on_exit: OnExit,
    ) -> None:
        self._process = process
        self._reader, self._writer = connection
        self._log = log
        self._on_event = on_event
        self._on_exit: OnExit | None = on_exit
        self._watchdog = Watchdog(deadlines)
        self._timer: asyncio.TimerHandle | None = None
        self._blame: Failure | None = None
        self._arm()
        self._watch = asyncio.create_task(self._run(), name=f"trainer-{process.pid}")

    @classmethod
    async def start(
        cls,
        slot: SlotSpec,
        log_path: Path,
        on_event: Callable[[protocol.TrainerEvent], None],
        on_exit: OnExit,
        deadlines: Deadlines,
        command: tuple[str, ...] = TRAINER_COMMAND,
        scratch: Path | None = None,
        seat_fd: int | None = None,
    ) -> TrainerProcess:
        """Starts one; with ``seat_fd`` it inherits that descriptor. Raises OSError when it cannot be started."""
        log = CappedLog(log_path)
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--fd",
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),) if seat_fd is None else (theirs.fileno(), seat_fd),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env=slot_environment(slot, os.environ, scratch=scratch),
            )
        except BaseException:
            ours.close()
            log.close()
            raise
        finally:
            theirs.close()
        connection = await asyncio.open_connection(sock=ours, limit=MAX_LINE_BYTES)
        return cls(process, connection, log, deadlines, on_event, on_exit)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, command: protocol.TrainerCommand) -> None:
        """Queues a command. A process that is gone is reported through ``on_exit``, not here."""
        if not self._writer.is_closing():
            self._writer.write(encode(command))
            if self._watchdog.sent(command):
                self._arm()

    async def kill(self) -> None:
        """Ends the process and everything it started; returns when it is gone. Idempotent."""
        self._on_exit = None
        kill_group(self.pid)
        await self._watch

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watchdog.allowed_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self._watchdog.allowed_s, self._hung)

    def _hung(self) -> None:
        message = f"the trainer process was silent for {self._watchdog.allowed_s:.0f} s while {self._watchdog.waits_for} was due"
        self._end_for(Failure("trainer_hung", message, machine_suspect=True))

    def _end_for(self, failure: Failure) -> None:
        self._blame = self._blame or failure
        kill_group(self.pid)

    async def _run(self) -> None:
        output = asyncio.create_task(self._copy_output())
        events = asyncio.create_task(self._read_events())
        try:
            code = await self._process.wait()
            kill_group(self.pid)
            _, late = await asyncio.wait((output, events), timeout=LAST_WORDS_S)
            for task in late:
                task.cancel()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._writer.close()
        failure = self._blame or Failure("trainer_died", how_it_ended("trainer process", code), machine_suspect=True)
        tail = self._log.tail()
        self._log.close()
        if self._on_exit is not None:
            logger.warning("trainer process %d: %s", self.pid, failure.message)
            accounted = self._blame is None and code in ACCOUNTED_EXIT_CODES
            self._on_exit(Failure(failure.code, failure.message, failure.machine_suspect, tail), accounted)

    async def _copy_output(self) -> None:
        stream = self._process.stdout
        while stream is not None and (data := await stream.read(64 * 1024)):
            self._log.write(data)

    async def _read_events(self) -> None:
        try:
            while line := await self._reader.readline():
                event = decode_event(line)
                self._watchdog.heard(event)
                self._arm()
                if self._on_exit is not None:
                    self._on_event(event)
        except (CorruptDataError, ValueError) as error:
            self._end_for(Failure("trainer_died", f"the trainer process broke the protocol: {error}", machine_suspect=True))
        except OSError as error:
            logger.info("trainer process %d: its socket ended: %s", self.pid, error)
