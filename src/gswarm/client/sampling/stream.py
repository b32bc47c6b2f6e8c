"""Batches on their way from the spool to the host: the live ones at once, those of a time without the host beside them and slower."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, TypeVar

from gswarm.client.sampling.clock_offset import ClockOffset
from gswarm.client.sampling.spool import Record, Spool, Spools
from gswarm.domain.errors import GswarmError, InvalidInputError, LimitError
from gswarm.domain.samples import SampleAck, SampleBatch
from gswarm.wire.client import Backoff

logger = logging.getLogger(__name__)

CATCH_UP_BATCHES = 32
"""What has waited for the host is sent ahead of what is new while it is no more than that; more of it becomes an old spool."""
LIVE_WINDOW = 64
BACKFILL_WINDOW = 8
"""Batches that are sent and not acknowledged yet."""
BACKFILL_BYTES_PER_S = 2 * 1024 * 1024

T = TypeVar("T")
OpenStream = Callable[[AsyncIterator[SampleBatch]], Any]
"""``HostConnection.samples``."""


class SampleStream:
    """Appends batches to the spool and sends what is there for as long as the client lives.

    Args:
        open_stream: ``HostConnection.samples``.
        on_intervals: told what the host's sessions ask for.
        on_connected: told when a new connection begins.
        clock_us: microseconds since the epoch.
        pause: ``asyncio.sleep``, for the pace of old batches.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        spools: Spools,
        on_intervals: Callable[[dict[str, float]], None] = lambda intervals_s: None,
        on_connected: Callable[[], None] = lambda: None,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
        backfill_bytes_per_s: int = BACKFILL_BYTES_PER_S,
    ) -> None:
        self._open_stream = open_stream
        self._spools = spools
        self._on_intervals = on_intervals
        self._on_connected = on_connected
        self._clock_us = clock_us
        self._pause = pause
        self._backfill_bytes_per_s = backfill_bytes_per_s
        self._disk = ThreadPoolExecutor(1, "spool")
        self._added = asyncio.Event()
        self._sealed = asyncio.Event()
        self._acked = asyncio.Event()
        self.offset = ClockOffset()
        self.refused_batches = self._refused_rows = 0
        """Which the host will not store or nobody can read, since the start."""
        self._refused_up_to: dict[str, int] = {}
        """By spool, so that none is counted again after a new connection."""
        self._is_losing = False
        self._exhausted: Spool | None = None
        """An old spool of which the host has everything that could be read."""

    @property
    def lost_rows(self) -> int:
        """Which found no room or cannot be stored, since the start."""
        return self._spools.lost_rows + self._refused_rows

    @property
    def waiting(self) -> int:
        """Batches that the host has not acknowledged."""
        return sum(spool.waiting for spool in (*self._spools.old, self._spools.live))

    async def add(self, batch: SampleBatch) -> None:
        """Writes it to the spool, with the offset of the clocks as it is known now. Where there is no room, it is lost and counted."""
        best = self.offset.best
        offset_s, error_s = (best.offset_s, best.error_s) if best is not None else (None, None)
        try:
            await self._on_disk(
                self._spools.append,
                SampleBatch(batch.spool, batch.seq, batch.columns, batch.devices, clock_offset_s=offset_s, clock_error_s=error_s),
            )
        except GswarmError as error:
            if not self._is_losing:
                logger.warning("samples are being lost: %s", error)
            self._is_losing = True
            return
        self._is_losing = False
        self._added.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_live())
            tasks.create_task(self._send_old())

    async def drained(self, timeout_s: float) -> bool:
        """Waits until the host has stored everything; whether it has."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.waiting:
                    self._acked.clear()
                    await self._acked.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Writes no more; what waits stays on the disk."""
        await self._on_disk(self._spools.close)
        self._disk.shutdown()

    # ---- live ------------------------------------------------------------------------------------------------------

    async def _send_live(self) -> None:
        backoff = Backoff(initial_s=0.2, max_s=10.0)
        while True:
            if not self._spools.live.waiting:
                self._added.clear()
                await self._added.wait()
            try:
                if self._spools.live.waiting > CATCH_UP_BATCHES:
                    await self._on_disk(self._spools.seal)
                    self._sealed.set()
                self._on_connected()
                await self._converse(self._spools.live, self._live_batches(self._spools.live), backoff)
            except GswarmError as error:
                logger.info("samples wait: %s", error)
            self.offset.lost()
            await asyncio.sleep(next(backoff))

    async def _live_batches(self, spool: Spool) -> AsyncIterator[SampleBatch]:
        sent = spool.acked
        while True:
            self._added.clear()
            records = await self._on_disk(spool.read, sent, LIVE_WINDOW) if sent < spool.last else []
            for record in records:
                sent = record.seq
                if (batch := self._readable(record, spool)) is not None:
                    self.offset.sent(sent, self._clock_us())
                    yield batch
                await self._until_acked(spool, sent - LIVE_WINDOW)
            if not records:
                await self._added.wait()

    # ---- what has waited for long ------------------------------------------------------------------------------------

    async def _send_old(self) -> None:
        backoff = Backoff(initial_s=0.5, max_s=10.0)
        while True:
            self._sealed.clear()
            if not self._spools.old:
                await self._sealed.wait()
                continue
            spool = self._spools.old[0]
            try:
                await self._converse(spool, self._old_batches(spool), backoff)
            except GswarmError as error:
                logger.info("older samples wait: %s", error)
            if spool not in self._spools.old:
                continue  # its last batches went for want of room
            if not spool.waiting or self._exhausted is spool:
                await self._on_disk(self._spools.retire, spool)
                logger.info("the host has the samples of an earlier time")
                self._acked.set()
            else:
                await asyncio.sleep(next(backoff))

    async def _old_batches(self, spool: Spool) -> AsyncIterator[SampleBatch]:
        sent = newest = spool.acked
        while records := await self._on_disk(spool.read, sent, BACKFILL_WINDOW):
            for record in records:
                sent = record.seq
                if (batch := self._readable(record, spool)) is not None:
                    newest = sent
                    yield batch
                await self._pause(len(record.payload) / self._backfill_bytes_per_s)
            await self._until_acked(spool, newest - BACKFILL_WINDOW)
        await self._until_acked(spool, newest)
        self._exhausted = spool

    # ---- both --------------------------------------------------------------------------------------------------------

    async def _converse(self, spool: Spool, batches: AsyncIterator[SampleBatch], backoff: Backoff) -> None:
        """Sends and hears until the connection or the spool is over. A batch that the host will not store is left out from then on."""
        before = spool.acked
        try:
            async with aclosing(self._open_stream(batches)) as acks:
                async for ack in acks:
                    await self._heard(spool, ack)
                    backoff.reset()
        except (InvalidInputError, LimitError) as error:
            if spool.waiting and spool.acked == before:
                await self._leave_out_first(spool, error)
            raise

    async def _heard(self, spool: Spool, ack: SampleAck) -> None:
        if spool is self._spools.live:
            self.offset.heard(ack, self._clock_us())
        if ack.intervals_s:
            self._on_intervals(dict(ack.intervals_s))
        if ack.seq > spool.acked:
            await self._on_disk(spool.ack, ack.seq)
            self._acked.set()

    async def _leave_out_first(self, spool: Spool, error: GswarmError) -> None:
        """The host has said nothing but no: it is the first one that it does not want. With more acknowledged, the next try will tell."""
        first = await self._on_disk(spool.read, spool.acked, 1)
        if first:
            logger.warning("the host does not store batch %d of spool %s: %s", first[0].seq, spool.name, error)
            self._refused(first[0], spool)
            await self._on_disk(spool.ack, first[0].seq)

    def _readable(self, record: Record, spool: Spool) -> SampleBatch | None:
        try:
            return record.batch()
        except GswarmError as error:
            logger.warning("batch %d of spool %s cannot be read and is left out: %s", record.seq, spool.name, error)
            self._refused(record, spool)
            return None

    def _refused(self, record: Record, spool: Spool) -> None:
        if record.seq > self._refused_up_to.get(spool.name, 0):
            self._refused_up_to[spool.name] = record.seq
            self.refused_batches += 1
            self._refused_rows += record.rows

    async def _until_acked(self, spool: Spool, seq: int) -> None:
        while spool.acked < seq:
            self._acked.clear()
            await self._acked.wait()

    async def _on_disk(self, call: Callable[..., T], *arguments: Any) -> T:
        """The disk may be slow, and the spool is one thread's."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, call, *arguments)
