"""The sampler process: started, heard, told what to measure, and started again when it ends or falls silent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from gswarm.client.processes import how_it_ended, kill_group
from gswarm.domain.errors import CorruptDataError
from gswarm.profiler.sensors.sampler_lines import LINE_BYTES_MAX, SamplerLine, decode_line, encode_intervals
from gswarm.wire.client import Backoff

logger = logging.getLogger(__name__)

SAMPLER_COMMAND = (sys.executable, "-m", "gswarm.profiler.sensors.sampler")
SILENT_S = 15.0
"""A process that says nothing for that long is ended; it says something twice a second."""
STUCK_PATIENCE_S = 60.0
"""How long a process lives whose sensors do not answer; twice as long each time, as a new one may hang like the one before."""
STUCK_PATIENCE_MAX_S = 3600.0
HEALTHY_S = 60.0
END_S = 5.0
"""How long a killed process is waited for: one that hangs in the driver may not end at all."""


class Sampler:
    """Keeps one sampler process running. ``on_line`` is called in the event loop.

    Args:
        folder: the disk under it is measured.
        command: how the process starts; it gets ``--data-dir`` and ``--parent``.
    """

    def __init__(
        self,
        folder: Path,
        on_line: Callable[[SamplerLine], None],
        command: tuple[str, ...] = SAMPLER_COMMAND,
        silent_s: float = SILENT_S,
        backoff: Backoff | None = None,
    ) -> None:
        self._folder = folder
        self._on_line = on_line
        self._command = command
        self._silent_s = silent_s
        self._backoff = backoff or Backoff(initial_s=1.0, max_s=60.0)
        self._stuck_patience_s = STUCK_PATIENCE_S
        self._intervals_s: dict[str, float] = {}
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process is not None else None

    def set_intervals(self, intervals_s: Mapping[str, float]) -> None:
        """Seconds between readings, by metric or ``*``; also for processes that are started later."""
        self._intervals_s = dict(intervals_s)
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(encode_intervals(self._intervals_s))

    async def run(self) -> None:
        """Until cancelled; then no process is left."""
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            why = await self._one_life(began_s)
            if loop.time() - began_s > HEALTHY_S:
                self._backoff.reset()
            delay_s = next(self._backoff)
            logger.warning("%s; another sampler process starts in %.0f s", why, delay_s)
            await asyncio.sleep(delay_s)

    async def _one_life(self, began_s: float) -> str:
        """Why it ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "--data-dir",
                str(self._folder),
                "--parent",
                str(os.getpid()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=LINE_BYTES_MAX,
                start_new_session=True,
            )
        except OSError as error:
            return f"the sampler process cannot start: {error.strerror}"
        self._process = process
        self.starts += 1
        complaints = asyncio.create_task(_log(process.stderr))
        try:
            if self._intervals_s:
                self.set_intervals(self._intervals_s)
            return await self._hear(process, began_s)
        finally:
            self._process = None
            kill_group(process.pid)
            ending = asyncio.create_task(_end(process, complaints))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending
                raise

    async def _hear(self, process: asyncio.subprocess.Process, began_s: float) -> str:
        assert process.stdout is not None
        while True:
            try:
                # Not wait_for: in Python 3.11 it loses a cancellation that comes together with a line.
                async with asyncio.timeout(self._silent_s):
                    data = await process.stdout.readline()
                if not data:
                    async with asyncio.timeout(END_S):
                        return how_it_ended("sampler process", await process.wait())
                line = decode_line(data)
            except TimeoutError:
                return f"the sampler process was silent for {self._silent_s:.0f} s"
            except (CorruptDataError, ValueError) as error:
                return str(error)
            self._on_line(line)
            if line.stuck and asyncio.get_running_loop().time() - began_s > self._stuck_patience_s:
                self._stuck_patience_s = min(2 * self._stuck_patience_s, STUCK_PATIENCE_MAX_S)
                return f"sensors do not answer and have not been measured: {', '.join(f'{name} for {s:.0f} s' for name, s in line.stuck)}"


async def _end(process: asyncio.subprocess.Process, complaints: asyncio.Task[None]) -> None:
    """To the end of a killed process's pipes, so that none is left to a loop that is closed next."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await asyncio.gather(process.wait(), _emptied(process.stdout), complaints, return_exceptions=True)
    complaints.cancel()


async def _emptied(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(LINE_BYTES_MAX):
        pass


async def _log(stream: asyncio.StreamReader | None) -> None:
    """What it complains about is for whoever looks for a fault. A line that is too long is left out."""
    while stream is not None:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return
        logger.debug("sampler process: %s", line.decode(errors="replace").rstrip()[:500])
