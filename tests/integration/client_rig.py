"""A whole client against a scripted host: real gRPC and HTTP on loopback, a fake trainer process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from gswarm import __version__
from gswarm.client.daemon import Client, ClientSettings
from gswarm.client.trainer_process import Deadlines
from gswarm.datapool.disk import DiskStore
from gswarm.datapool.manifest import ingest_folder, missing
from gswarm.datapool.transfer import pool_routes
from gswarm.domain.config import ClientConfig
from gswarm.domain.errors import GswarmError, UnavailableError
from gswarm.domain.ids import Digest, RunId
from gswarm.domain.messages import (
    Ack,
    ChunkCommittedReport,
    ClientMessage,
    Goodbye,
    GrantOrder,
    Heartbeat,
    HostMessage,
    MetricBatch,
    OutsidersSeen,
    Register,
    Registered,
)
from gswarm.domain.plan import Checkpoint
from gswarm.domain.samples import SampleAck, SampleBatch
from gswarm.domain.spec import RunSpec
from gswarm.wire.server import RunningServer, start_server
from gswarm.wire.tls import Peer

FAKE_TRAINER = (sys.executable, str(Path(__file__).with_name("client_fake_trainer.py")))
WAIT_S = 60.0

M = TypeVar("M")


@dataclass
class ScriptedHost:
    """Acknowledges what a host would, and says what a test tells it to."""

    store: DiskStore
    pool_url: str = ""
    lease_timeout_s: float = 3.0
    refuse: GswarmError | None = None
    refuse_reports: str = ""
    """An error code; every report is refused with it."""
    checks_copies: bool = True
    """A commit is refused while blobs of it are missing here."""
    is_mute: bool = False
    """Reports are taken and not acknowledged."""
    registers: list[Register] = field(default_factory=list)
    heard: list[ClientMessage] = field(default_factory=list)
    metrics_rows: list[Any] = field(default_factory=list)
    log_lines: list[Any] = field(default_factory=list)
    sample_batches: list[SampleBatch] = field(default_factory=list)
    outgoing: asyncio.Queue[HostMessage | GswarmError] | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def session(self, peer: Peer, first: Register, messages: AsyncIterator[ClientMessage]) -> AsyncIterator[HostMessage]:
        if self.refuse is not None:
            raise self.refuse
        self.registers.append(first)
        queue = self.outgoing = asyncio.Queue()
        queue.put_nowait(Registered(self.lease_timeout_s, __version__, "c1"))
        listening = asyncio.create_task(self._listen(messages, queue))
        await self._tell()
        try:
            while True:
                message = await queue.get()
                if isinstance(message, GswarmError):
                    raise message
                yield message
        finally:
            listening.cancel()
            if self.outgoing is queue:
                self.outgoing = None

    async def _listen(self, messages: AsyncIterator[ClientMessage], queue: asyncio.Queue[HostMessage | GswarmError]) -> None:
        async for message in messages:
            self.heard.append(message)
            if not isinstance(message, Heartbeat | OutsidersSeen | Goodbye | Register) and not self.is_mute:
                queue.put_nowait(self._ack(message))
            await self._tell()
            if isinstance(message, Goodbye):
                queue.put_nowait(UnavailableError("good-bye"))

    def _ack(self, message: Any) -> Ack:
        if self.refuse_reports:
            return Ack(message.seq, False, self.refuse_reports, "as the test wants")
        if self.checks_copies and isinstance(message, ChunkCommittedReport) and missing(self.store, message.checkpoint.manifest):
            return Ack(message.seq, False, "incomplete", "blobs are missing")
        return Ack(message.seq, True)

    async def metrics(self, peer: Peer, batches: AsyncIterator[MetricBatch]) -> AsyncIterator[int]:
        async for batch in batches:
            self.metrics_rows.extend(batch.steps)
            self.log_lines.extend(batch.logs)
            await self._tell()
            yield batch.seq

    async def samples(self, peer: Peer, batches: AsyncIterator[SampleBatch]) -> AsyncIterator[SampleAck]:
        async for batch in batches:
            self.sample_batches.append(batch)
            await self._tell()
            yield SampleAck(batch.seq, 1, 2)

    async def locate(self, peer: Peer, digests: Sequence[Digest]) -> dict[Digest, list[tuple[str, str]]]:
        return {digest: [(self.pool_url, "host")] if self.store.has(digest) else [] for digest in digests}

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), WAIT_S)

    async def connected(self, times: int = 1) -> None:
        await self.until(lambda: len(self.registers) >= times and self.outgoing is not None)

    def say(self, *messages: HostMessage | GswarmError) -> None:
        assert self.outgoing is not None
        for message in messages:
            self.outgoing.put_nowait(message)

    async def hear(self, kind: type[M], count: int = 1) -> list[M]:
        """Waits for ``count`` messages of a kind with different seqs; the first of each seq."""
        await self.until(lambda: len(self.all(kind)) >= count)
        return self.all(kind)

    def all(self, kind: type[M]) -> list[M]:
        found = {
            getattr(message, "seq", index): message for index, message in reversed(list(enumerate(self.heard))) if isinstance(message, kind)
        }
        return [found[key] for key in sorted(found)]


@dataclass
class Rig:
    """The host, its pool, and what a grant needs in it."""

    host: ScriptedHost
    server: RunningServer
    pool_port: int
    data_dir: Path
    base: Digest
    data: Digest
    settings: ClientSettings
    generations: dict[RunId, int] = field(default_factory=dict)

    def config(self, **changes: Any) -> ClientConfig:
        return ClientConfig(
            **{"host": f"127.0.0.1:{self.server.port}", "name": "a", "slots": "cpu:1", "data_dir": str(self.data_dir), **changes}
        )

    def client(self, **changes: Any) -> Client:
        return Client(self.config(**changes), insecure=True, settings=self.settings)

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[tuple[Client, asyncio.Task[None]]]:
        """A client that is connected; it is stopped and everything is awaited at the end."""
        client = self.client(**changes)
        task = asyncio.create_task(client.run())
        connected = asyncio.create_task(self.host.connected(len(self.host.registers) + 1))
        await asyncio.wait((task, connected), return_when=asyncio.FIRST_COMPLETED)
        try:
            if task.done():
                connected.cancel()
                task.result()
            yield client, task
        finally:
            if not task.done():
                client.stop()
                client.stop()
                await asyncio.wait((task,), timeout=WAIT_S)
            await asyncio.gather(task, return_exceptions=True)

    def grant(
        self, run: str, start: int, end: int, *, does: str = "ok", checkpoint: Checkpoint | None = None, **changes: Any
    ) -> GrantOrder:
        run_id = RunId(run)
        self.generations[run_id] = self.generations.get(run_id, 0) + 1
        values: dict[str, Any] = {
            "run": run_id,
            "generation": self.generations[run_id],
            "slot_index": 0,
            "from_step": start,
            "to_step": end,
            "total_steps": 100,
            "steps_per_epoch": 50,
            "spec": RunSpec("m", does),
            "base": self.base,
            "data": self.data,
            "checkpoint": checkpoint,
            "warm_start": False,
            "durability": "replicated",
        }
        return GrantOrder(**{**values, **changes})


@asynccontextmanager
async def rig(directory: Path, deadlines: Deadlines | None = None, **changes: Any) -> AsyncIterator[Rig]:
    store = DiskStore(directory / "host-pool")
    digests = []
    for kind in ("base", "data"):
        folder = directory / f"make-{kind}"
        folder.mkdir()
        (folder / "part.bin").write_bytes(kind.encode() * 5000)
        digests.append(ingest_folder(store, kind, folder)[0])
    app = web.Application(client_max_size=1 << 30)
    app.add_routes(pool_routes(store, lambda request: None))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pool_port = runner.addresses[0][1]
    host = ScriptedHost(store, f"http://127.0.0.1:{pool_port}")
    server = await start_server(host, "127.0.0.1", 0, None)
    settings = ClientSettings(
        **{
            "deadlines": deadlines,
            "grace_s": 5.0,
            "trainer_command": FAKE_TRAINER,
            "sampler_command": None,
            "pool_port": pool_port,
            **changes,
        }
    )
    try:
        yield Rig(host, server, pool_port, directory / "data", digests[0], digests[1], settings)
    finally:
        await server.stop(0)
        await runner.cleanup()
        store.close()
