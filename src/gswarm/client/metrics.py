"""Training metrics and log lines on their way to the host: batched, resent until stored, bounded."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable

from gswarm.domain.errors import GswarmError
from gswarm.domain.messages import LogLine, MetricBatch, StepMetrics
from gswarm.wire.client import Backoff

logger = logging.getLogger(__name__)

FLUSH_S = 0.2
"""How long a row waits for company."""
BATCH_ROWS = 500
ROWS_MAX = 200_000
"""Held for a host that is away. Beyond it the oldest log lines go first, then the oldest metrics; checkpoints carry their own."""
LOG_CHARS_MAX = 4000


class MetricBuffer:
    """What the host has not stored yet. No clock, no socket."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._steps: deque[StepMetrics] = deque()
        self._logs: deque[LogLine] = deque()
        self._sent: dict[int, MetricBatch] = {}
        self._held = 0
        self._next_seq = 1
        self.dropped = 0

    def add_step(self, row: StepMetrics) -> None:
        self._steps.append(row)
        self._count(1)

    def add_log(self, line: LogLine) -> None:
        self._logs.append(line if len(line.text) <= LOG_CHARS_MAX else LogLine(line.run, line.at_s, line.level, line.text[:LOG_CHARS_MAX]))
        self._count(1)

    @property
    def waiting(self) -> int:
        """Rows that no batch carries yet."""
        return len(self._steps) + len(self._logs)

    @property
    def is_empty(self) -> bool:
        return not self._steps and not self._logs and not self._sent

    def take(self) -> MetricBatch | None:
        """The next batch, kept until ``acked``; ``None`` when nothing waits."""
        if not self.waiting:
            return None
        steps = tuple(self._steps.popleft() for _ in range(min(BATCH_ROWS, len(self._steps))))
        logs = tuple(self._logs.popleft() for _ in range(min(BATCH_ROWS - len(steps), len(self._logs))))
        batch = MetricBatch(self._next_seq, steps, logs)
        self._next_seq += 1
        self._sent[batch.seq] = batch
        return batch

    def unacked(self) -> list[MetricBatch]:
        """To be sent again on a new connection, in order."""
        return list(self._sent.values())

    def acked(self, seq: int) -> None:
        batch = self._sent.pop(seq, None)
        if batch is not None:
            self._held -= len(batch.steps) + len(batch.logs)

    def _count(self, added: int) -> None:
        self._held += added
        while self._held > self._rows_max:
            if self._logs:
                self._logs.popleft()
                lost = 1
            elif self._sent:
                batch = self._sent.pop(next(iter(self._sent)))
                lost = len(batch.steps) + len(batch.logs)
            else:
                self._steps.popleft()
                lost = 1
            self._held -= lost
            self.dropped += lost


class MetricStream:
    """Sends the buffer over the metrics stream for as long as the client lives.

    Args:
        open_stream: ``HostConnection.metrics``.
    """

    def __init__(self, open_stream: Callable[[AsyncIterator[MetricBatch]], AsyncIterator[int]]) -> None:
        self._open_stream = open_stream
        self._buffer = MetricBuffer()
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._stored = asyncio.Event()

    def add_step(self, row: StepMetrics) -> None:
        self._buffer.add_step(row)
        self._schedule()

    def add_log(self, line: LogLine) -> None:
        self._buffer.add_log(line)
        self._schedule()

    def _schedule(self) -> None:
        if self._buffer.waiting >= BATCH_ROWS:
            self._due.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._due.set()

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(initial_s=0.2, max_s=10.0)
        try:
            while True:
                # A connection is opened for something to say, not before.
                await self._until_due()
                try:
                    async for seq in self._open_stream(self._outgoing()):
                        self._buffer.acked(seq)
                        backoff.reset()
                        if self._buffer.is_empty:
                            self._stored.set()
                except GswarmError as error:
                    logger.info("metrics wait: %s", error)
                await asyncio.sleep(next(backoff))
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def drained(self, timeout_s: float) -> bool:
        """Waits until the host has stored everything; whether it has."""
        self._due.set()
        try:
            async with asyncio.timeout(timeout_s):
                while not self._buffer.is_empty:
                    self._stored.clear()
                    await self._stored.wait()
        except TimeoutError:
            return False
        return True

    async def _until_due(self) -> None:
        if not self._buffer.unacked():
            await self._due.wait()

    async def _outgoing(self) -> AsyncIterator[MetricBatch]:
        for batch in self._buffer.unacked():
            yield batch
        while True:
            # Before the first wait too: the connection before may have ended while rows were still to be sent.
            self._due.clear()
            while (waiting := self._buffer.take()) is not None:
                yield waiting
            await self._due.wait()
