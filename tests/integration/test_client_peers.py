"""Blobs between clients over mTLS: who may have them is the host's word."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from security_support import signed
from wire_support import FAST, EchoHost

from gswarm.client import data_server
from gswarm.client.data_server import DataServer
from gswarm.client.peer_rights import PeerRights
from gswarm.datapool.disk import DiskStore
from gswarm.datapool.manifest import ingest_folder, missing
from gswarm.datapool.transfer import PoolClient, RetryPolicy, Source, refusal
from gswarm.domain.errors import ForbiddenError, GswarmError, UnavailableError
from gswarm.domain.ids import ClientName, Digest
from gswarm.wire.client import HostConnection
from gswarm.wire.server import RunningServer, start_server
from gswarm.wire.tls import CertificateAuthority, ClientTls, Peer, client_ssl_context, server_name

MIB = 1024 * 1024
A, B, C = ClientName("a"), ClientName("b"), ClientName("c")
AUTHORITY = CertificateAuthority.create("c1")


@dataclass
class Host(EchoHost):
    """Says what each client may fetch."""

    may: dict[ClientName, tuple[Digest, ...]] = field(default_factory=dict)

    async def reach(self, peer: Peer, client: ClientName) -> Sequence[Digest]:
        assert peer.name == "a"
        return self.may.get(client, ())


@dataclass
class World:
    """Client a serves a manifest that it alone holds."""

    host: Host
    grpc: RunningServer
    store: DiskStore
    server: DataServer
    source: Source
    manifest: Digest
    added_s: float = 0.0

    def now_s(self) -> float:
        return time.time() + self.added_s

    async def fetch(self, tls: ClientTls, folder: Path) -> DiskStore:
        store = DiskStore(folder)
        client = PoolClient(client_ssl_context(tls), retry=RetryPolicy(attempts=3, first_delay_s=0.01))
        try:
            await client.fetch_manifest(store, self.manifest, [self.source])
        finally:
            await client.close()
            store.close()
        return store


@asynccontextmanager
async def world(directory: Path, size_bytes: int = 100_000) -> AsyncIterator[World]:
    host, store, own = Host(), DiskStore(directory / "a"), signed(AUTHORITY, "a")
    folder = directory / "made"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"w" * size_bytes)
    manifest, _ = ingest_folder(store, "checkpoint", folder)
    grpc = await start_server(host, "127.0.0.1", 0, AUTHORITY.issue_host())
    async with HostConnection(f"127.0.0.1:{grpc.port}", own, "a", FAST) as link:
        server = DataServer(store, own, PeerRights(link.reach, store), lambda: made.now_s())
        source = Source(await server.start("127.0.0.1", 0), server_name("a"))
        made = World(host, grpc, store, server, source, manifest)
        try:
            yield made
        finally:
            await server.stop()
            await grpc.stop()
            store.close()


async def test_a_client_reads_what_its_grant_needs_and_another_one_does_not(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.host.may[B] = (w.manifest,)
        assert not missing(await w.fetch(signed(AUTHORITY, "b"), tmp_path / "b"), w.manifest)
        with pytest.raises(ForbiddenError):
            await w.fetch(signed(AUTHORITY, "c"), tmp_path / "c")


async def test_the_host_itself_may_read_everything(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        own = AUTHORITY.issue_host()
        assert not missing(await w.fetch(ClientTls(own.cert_pem, own.key_pem, own.ca_pem), tmp_path / "host"), w.manifest)


async def test_while_the_host_is_away_nothing_is_given_and_the_asker_is_told_to_wait(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.host.may[B] = (w.manifest,)
        await w.grpc.stop()
        with pytest.raises(UnavailableError):
            await w.fetch(signed(AUTHORITY, "b"), tmp_path / "b")


async def test_a_connection_ends_with_its_certificate(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.host.may[B] = (w.manifest,)
        w.added_s = 2 * 86400.0
        with pytest.raises(UnavailableError):
            await w.fetch(signed(AUTHORITY, "b"), tmp_path / "b")


async def test_an_answer_that_lasts_too_long_is_cut_so_that_its_reader_has_to_ask_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = asyncio.Event()

    def refuse(error: GswarmError) -> web.Response:
        cut.set()
        return refusal(error)

    monkeypatch.setattr(data_server, "ANSWER_MAX_S", 0.2)
    monkeypatch.setattr(data_server, "refusal", refuse)
    async with world(tmp_path, 64 * MIB) as w, asyncio.timeout(20):
        w.host.may[B] = (w.manifest,)
        entry = next(digest for digest in w.store.digests() if w.store.size_bytes(digest) == 64 * MIB)
        context, port = client_ssl_context(signed(AUTHORITY, "b")), int(w.source.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name("a"))
        writer.write(f"GET /v1/blobs/{entry} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await cut.wait()
        taken_bytes = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(MIB):
                taken_bytes += len(data)
        assert taken_bytes < 64 * MIB
        writer.close()
