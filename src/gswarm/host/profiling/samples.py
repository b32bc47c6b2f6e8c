"""What clients' sensors measured, into the store: acknowledged when it is on the disk, with what sessions want to know from now on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from gswarm.domain.errors import StorageError
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import SampleAck, SampleBatch

DEFAULT_INTERVAL_S = 1.0
"""Between samples, while no session asks for something else."""
FLUSH_S = 0.2
"""Between two flushes of the store's disk. Many batches share one, and a client goes on sending meanwhile."""

Intervals = tuple[tuple[str, float], ...]


class SampleSink(Protocol):
    def append(self, client: ClientName, batch: SampleBatch) -> None:
        """Stores a batch, once however often it comes; blocking. Raises InvalidInputError and StorageError, and then stores nothing."""

    def flush(self) -> None:
        """What was appended before survives power loss when this returns; blocking. Raises StorageError."""


@dataclass(eq=False, slots=True)
class _Stream:
    ack: SampleAck | None = None
    """To be sent. A newer one speaks for those before it."""
    appended: int = 0
    flushed: int = 0
    """Numbers of the newest batches."""
    failed: StorageError | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class SampleIntake:
    """Takes the sample streams of all clients. A stream's batches are stored one after another, so a slow disk slows its sender down.

    Args:
        store: where they go.
        clock_s: the host's, seconds since the epoch.
        intervals: what sessions ask of a client; nothing means the default.
    """

    def __init__(
        self, store: SampleSink, clock_s: Callable[[], float], intervals: Callable[[ClientName], Intervals] = lambda client: ()
    ) -> None:
        self._store = store
        self._clock_s = clock_s
        self._intervals = intervals
        self._streams: set[_Stream] = set()
        self._unflushed: dict[_Stream, SampleAck] = {}
        self._flushing: asyncio.Task[None] | None = None

    def follow(self, intervals: Callable[[ClientName], Intervals]) -> None:
        """From now on this says what sessions ask for."""
        self._intervals = intervals
        self.intervals_changed()

    def intervals_changed(self) -> None:
        """Tells all connected clients what they are to measure from now on, where that is new for them. On the event loop's thread."""
        for stream in self._streams:
            stream.wake.set()

    async def take(self, client: ClientName, batches: AsyncIterator[SampleBatch]) -> AsyncGenerator[SampleAck, None]:
        """Answers to one stream of a client.

        Raises:
            InvalidInputError: a batch cannot be; nothing of it was stored.
            StorageError: the store's disk fails.
        """
        stream = _Stream()
        self._streams.add(stream)
        reader = asyncio.create_task(self._read(client, batches, stream), name=f"samples-{client}")
        reader.add_done_callback(lambda _task: stream.wake.set())
        told: Intervals = ()
        try:
            while True:
                stream.wake.clear()
                wanted = self._intervals(client)
                if wanted != told:
                    told = wanted
                    now_us = self._now_us()
                    yield SampleAck(0, now_us, now_us, wanted or (("*", DEFAULT_INTERVAL_S),))
                if stream.ack is not None:
                    ack, stream.ack = stream.ack, None
                    yield replace(ack, sent_us=self._now_us())
                if stream.failed is not None:
                    raise stream.failed
                if reader.done() and stream.flushed == stream.appended:
                    reader.result()
                    return
                await stream.wake.wait()
        finally:
            self._streams.discard(stream)
            self._unflushed.pop(stream, None)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, client: ClientName, batches: AsyncIterator[SampleBatch], stream: _Stream) -> None:
        async for batch in batches:
            received_us = self._now_us()
            await asyncio.to_thread(self._store.append, client, batch)
            stream.appended = batch.seq
            self._unflushed[stream] = SampleAck(batch.seq, received_us, received_us)
            if self._flushing is None:
                self._flushing = asyncio.create_task(self._flush(), name="flush samples")

    async def _flush(self) -> None:
        """Until there is nothing to flush."""
        try:
            while self._unflushed:
                taken, self._unflushed = self._unflushed, {}
                try:
                    await asyncio.to_thread(self._store.flush)
                except StorageError as error:
                    for stream in taken:
                        stream.failed = error
                for stream, ack in taken.items():
                    stream.ack, stream.flushed = (ack if stream.failed is None else None), ack.seq
                    stream.wake.set()
                await asyncio.sleep(FLUSH_S)
        finally:
            self._flushing = None

    def _now_us(self) -> int:
        return round(self._clock_s() * 1e6)
