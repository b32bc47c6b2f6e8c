"""Samples from the spool over real gRPC into a store: each once, whatever breaks between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from wire_support import FAST, EchoHost, Relay, running

from gswarm.client.sampling.columns import column
from gswarm.client.sampling.spool import Spools
from gswarm.client.sampling.stream import CATCH_UP_BATCHES, SampleStream
from gswarm.domain.errors import InvalidInputError, StorageError
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import SampleAck, SampleBatch
from gswarm.host.profiling.samples import SampleIntake
from gswarm.wire.client import HostConnection
from gswarm.wire.tls import Peer

WAIT_S = 60.0
MIB = 1024 * 1024


@dataclass
class Memory:
    """A store that keeps everything, once a (client, spool, seq)."""

    batches: dict[tuple[str, str, int], SampleBatch] = field(default_factory=dict)
    fail: Callable[[SampleBatch], Exception | None] = lambda batch: None
    order: list[float] = field(default_factory=list)
    flush_failures: Iterator[Exception] = field(default_factory=lambda: iter(()))
    flushed: set[tuple[str, str, int]] = field(default_factory=set)

    def flush(self) -> None:
        for error in self.flush_failures:
            raise error
        self.flushed = set(self.batches)

    def append(self, client: ClientName, batch: SampleBatch) -> None:
        error = self.fail(batch)
        if error is not None:
            raise error
        if self.batches.setdefault((client, batch.spool, batch.seq), batch) is batch:
            self.order.append(number(batch))

    def numbers(self) -> list[float]:
        return sorted(number(batch) for batch in self.batches.values())


class SamplesHost(EchoHost):
    """An echo that stores samples."""

    def __init__(self, store: Memory, ahead_s: float = 0.0) -> None:
        super().__init__()
        self.intake = SampleIntake(store, lambda: time.time() + ahead_s)

    async def samples(self, peer: Peer, batches: AsyncIterator[SampleBatch]) -> AsyncIterator[SampleAck]:
        async for ack in self.intake.take(ClientName(peer.name), batches):
            yield ack


def number(batch: SampleBatch) -> float:
    return int.from_bytes(batch.columns[0].times_us, "little") / 1e6


def numbered(value: int) -> SampleBatch:
    return SampleBatch("", 0, (column("machine", "", ("load_1m",), [(float(value), (1.0,))]),))


@asynccontextmanager
async def sending(folder: Path, port: int, **options: object) -> AsyncIterator[SampleStream]:
    async with HostConnection(f"127.0.0.1:{port}", None, "a", FAST) as link:
        stream = SampleStream(link.samples, Spools(folder, 64 * MIB), **options)  # type: ignore[arg-type]
        task = asyncio.create_task(stream.run())
        try:
            yield stream
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await stream.close()


async def test_every_sample_arrives_once_over_restarts_of_the_host(tmp_path: Path) -> None:
    store, sent = Memory(), 0
    async with running(SamplesHost(store), None) as server:
        port = server.port
        async with sending(tmp_path, port) as stream:
            for _ in range(5):
                sent += 1
                await stream.add(numbered(sent))
            assert await stream.drained(WAIT_S)
            await server.stop()
            for _ in range(CATCH_UP_BATCHES + 20):  # so many that they become an old spool
                sent += 1
                await stream.add(numbered(sent))
            async with running(SamplesHost(store), None, port=port):
                for _ in range(5):
                    sent += 1
                    await stream.add(numbered(sent))
                assert await stream.drained(WAIT_S)
            assert (stream.lost_rows, stream.refused_batches) == (0, 0)
    assert store.numbers() == list(range(1, sent + 1))


async def test_every_sample_arrives_once_over_a_kill_of_the_client(tmp_path: Path) -> None:
    store = Memory()
    killed = SampleStream(lambda batches: None, Spools(tmp_path, 64 * MIB))  # never runs and is never closed
    for value in range(1, 101):
        await killed.add(numbered(value))
    async with running(SamplesHost(store), None) as server, sending(tmp_path, server.port) as stream:
        await stream.add(numbered(101))
        assert await stream.drained(WAIT_S)
    assert store.numbers() == list(range(1, 102))
    assert len({spool for _client, spool, _seq in store.batches}) == 2


async def test_every_sample_arrives_once_over_a_partition(tmp_path: Path) -> None:
    store = Memory()
    async with running(SamplesHost(store), None) as server:
        relay = Relay(server.port)
        async with sending(tmp_path, await relay.start()) as stream:
            for value in range(1, 21):
                await stream.add(numbered(value))
                if value == 10:
                    relay.silence()
            relay.reset()
            relay._open.set()
            assert await stream.drained(WAIT_S)
        await relay.stop()
    assert store.numbers() == list(range(1, 21))


async def test_live_samples_pass_old_ones(tmp_path: Path) -> None:
    """The old ones are held up for ever by their pace; what is measured now comes all the same."""
    store = Memory()
    killed = SampleStream(lambda batches: None, Spools(tmp_path, 64 * MIB))
    for value in range(1, 101):
        await killed.add(numbered(value))
    gate = asyncio.Event()
    paces: list[float] = []

    async def pause(delay_s: float) -> None:
        paces.append(delay_s)
        if len(paces) > 10:
            await gate.wait()

    async with running(SamplesHost(store), None) as server, sending(tmp_path, server.port, pause=pause) as stream:
        for value in range(1001, 1011):
            await stream.add(numbered(value))
        while len([value for value in store.numbers() if value > 1000]) < 10:
            await asyncio.sleep(0.01)
        assert len([value for value in store.numbers() if value < 1000]) <= 11
        gate.set()
        assert await stream.drained(WAIT_S)
    assert store.numbers() == [*range(1, 101), *range(1001, 1011)]
    assert all(0 < pace < 0.01 for pace in paces)


async def test_a_disk_that_fails_for_a_while_holds_up_and_loses_nothing(tmp_path: Path) -> None:
    failures = iter([StorageError("the disk is full")] * 2)
    store = Memory(fail=lambda batch: next(failures, None))
    async with running(SamplesHost(store), None) as server, sending(tmp_path, server.port) as stream:
        for value in range(1, 6):
            await stream.add(numbered(value))
        assert await stream.drained(WAIT_S)
    assert store.numbers() == [1, 2, 3, 4, 5]


async def test_nothing_is_acknowledged_before_it_is_flushed(tmp_path: Path) -> None:
    store = Memory(flush_failures=iter([StorageError("the disk is broken")] * 2))
    async with running(SamplesHost(store), None) as server, sending(tmp_path, server.port) as stream:
        for value in range(1, 6):
            await stream.add(numbered(value))
        assert await stream.drained(WAIT_S)
        assert store.flushed == set(store.batches), "two flushes failed, and what they were for came again"
        assert not list(store.flush_failures)
    assert store.order == [1, 2, 3, 4, 5]


async def test_a_batch_that_the_host_will_not_have_is_left_out_and_counted(tmp_path: Path) -> None:
    store = Memory(fail=lambda batch: InvalidInputError("no such metric") if number(batch) == 3 else None)
    async with running(SamplesHost(store), None) as server, sending(tmp_path, server.port) as stream:
        for value in range(1, 6):
            await stream.add(numbered(value))
        assert await stream.drained(WAIT_S)
        assert (stream.refused_batches, stream.lost_rows) == (1, 1)
    assert store.numbers() == [1, 2, 4, 5]


async def test_the_offset_of_the_clocks_is_measured_and_travels(tmp_path: Path) -> None:
    store = Memory()
    async with running(SamplesHost(store, ahead_s=100.0), None) as server, sending(tmp_path, server.port) as stream:
        await stream.add(numbered(1))
        assert await stream.drained(WAIT_S)
        await stream.add(numbered(2))
        assert await stream.drained(WAIT_S)
    first, second = sorted(store.batches.values(), key=number)
    assert (first.clock_offset_s, first.clock_error_s) == (None, None)
    assert second.clock_offset_s is not None
    assert second.clock_error_s is not None
    assert abs(second.clock_offset_s - 100.0) <= second.clock_error_s + 1e-3


async def test_intervals_are_told_at_once_and_taken_back(tmp_path: Path) -> None:
    store, told = Memory(), asyncio.Queue[dict[str, float]]()
    host = SamplesHost(store)
    wanted: dict[str, tuple[tuple[str, float], ...]] = {"a": (("gpu_power", 0.1), ("*", 2.0))}
    host.intake.follow(lambda client: wanted.get(client, ()))
    async with running(host, None) as server, sending(tmp_path, server.port, on_intervals=told.put_nowait) as stream:
        await stream.add(numbered(1))
        assert await asyncio.wait_for(told.get(), WAIT_S) == {"gpu_power": 0.1, "*": 2.0}
        wanted.clear()
        host.intake.intervals_changed()
        assert await asyncio.wait_for(told.get(), WAIT_S) == {"*": 1.0}


@pytest.mark.parametrize("count", [200])
async def test_many_batches_go_through_a_window(tmp_path: Path, count: int) -> None:
    store = Memory()
    async with running(SamplesHost(store), None) as server, sending(tmp_path, server.port) as stream:
        for value in range(1, count + 1):
            await stream.add(numbered(value))
        assert await stream.drained(WAIT_S)
    assert store.numbers() == list(range(1, count + 1))
