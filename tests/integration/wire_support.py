"""A host that echoes, certificates for it and a relay that can be cut: what the tests of the wire share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gswarm import __version__
from gswarm.domain.errors import GswarmError
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.messages import Ack, ClientMessage, HostMessage, MetricBatch, Register, Registered
from gswarm.domain.samples import SampleAck, SampleBatch
from gswarm.wire.client import ConnectionLimits, HostConnection
from gswarm.wire.server import RunningServer, ServerLimits, start_server
from gswarm.wire.tls import CertificateAuthority, ClientTls, Peer, ServerTls, make_key_and_csr

FAST = ConnectionLimits(keepalive_interval_s=0.3, keepalive_timeout_s=1.5, connect_timeout_s=1.0)
FAST_SERVER = ServerLimits(keepalive_interval_s=0.3, keepalive_timeout_s=1.5, register_timeout_s=0.3)


@dataclass
class EchoHost:
    """Answers every message that has a seq by an ack, and remembers who came and went."""

    fail: Callable[[ClientMessage], GswarmError | Exception | None] = lambda message: None
    peers: list[Peer] = field(default_factory=list)
    ended: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def session(self, peer: Peer, first: Register, messages: AsyncIterator[ClientMessage]) -> AsyncIterator[HostMessage]:
        self.peers.append(peer)
        try:
            yield Registered(15.0, __version__, "c1")
            async for message in messages:
                error = self.fail(message)
                if error is not None:
                    raise error
                yield Ack(getattr(message, "seq", 0), accepted=True)
        finally:
            self.ended.put_nowait(peer.name)

    async def metrics(self, peer: Peer, batches: AsyncIterator[MetricBatch]) -> AsyncIterator[int]:
        self.peers.append(peer)
        async for batch in batches:
            yield batch.seq

    async def samples(self, peer: Peer, batches: AsyncIterator[SampleBatch]) -> AsyncIterator[SampleAck]:
        self.peers.append(peer)
        async for batch in batches:
            yield SampleAck(batch.seq, 1, 2)

    async def reach(self, peer: Peer, client: ClientName) -> Sequence[Digest]:
        self.peers.append(peer)
        return ()

    async def locate(self, peer: Peer, digests: Sequence[Digest]) -> dict[Digest, list[tuple[str, str]]]:
        self.peers.append(peer)
        return {digest: [("https://10.0.0.7:4000", peer.name), ("https://10.0.0.1:8092", "host")] for digest in digests}


def client_tls(ca: CertificateAuthority, name: str, *, now: datetime | None = None, ttl: timedelta = timedelta(days=1)) -> ClientTls:
    key_pem, csr_pem = make_key_and_csr(name)
    return ClientTls(ca.issue_client(csr_pem, name, ttl, now), key_pem, ca.ca_pem)


@asynccontextmanager
async def running(
    handler: EchoHost, tls: ServerTls | None, limits: ServerLimits = FAST_SERVER, bind: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RunningServer]:
    server = await start_server(handler, bind, port, tls, limits)
    try:
        yield server
    finally:
        await server.stop(0)


@asynccontextmanager
async def linked(
    handler: EchoHost, host_tls: ServerTls | None, tls: ClientTls | None, name: str = "a", limits: ServerLimits = FAST_SERVER
) -> AsyncIterator[HostConnection]:
    """A connection to a host that runs as long as it does."""
    async with running(handler, host_tls, limits) as server, HostConnection(f"127.0.0.1:{server.port}", tls, name, FAST) as link:
        yield link


def register(name: str, version: str = __version__) -> Register:
    return Register(ClientName(name), "i1", version, "", ())


class Outbox:
    """Messages to send, one after another, until closed."""

    def __init__(self, *messages: ClientMessage | None) -> None:
        self._queue: asyncio.Queue[ClientMessage | None] = asyncio.Queue()
        for message in messages:
            self._queue.put_nowait(message)

    def put(self, message: ClientMessage | None) -> None:
        self._queue.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[ClientMessage]:
        while (message := await self._queue.get()) is not None:
            yield message


async def converse(connection: HostConnection, *messages: ClientMessage) -> list[HostMessage]:
    """Says all messages and returns every answer."""
    async with aclosing(connection.session(aiter(Outbox(*messages, None)))) as answers:
        return [answer async for answer in answers]


class Relay:
    """A TCP relay in front of a server that can fall silent (a cable is pulled) or reset (a process is killed)."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._open = asyncio.Event()
        self._open.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def silence(self) -> None:
        self._open.clear()

    def reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def stop(self) -> None:
        self.reset()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host_reader, host_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers += [writer, host_writer]
        for source, sink in ((reader, host_writer), (host_reader, writer)):
            self._pumps.add(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            return
        finally:
            sink.close()
