"""Blobs between pools over real sockets: broken connections, lying sources, full disks, closed doors."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from blake3 import blake3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gswarm.datapool.disk import DiskStore
from gswarm.datapool.manifest import Entry, Manifest, missing, save_manifest
from gswarm.datapool.memory import MemoryStore
from gswarm.datapool.store import BlobStore
from gswarm.datapool.transfer import PoolClient, RetryPolicy, Source, pool_routes
from gswarm.datapool.transfer.client import SEGMENT_BYTES
from gswarm.datapool.transfer.http import IDLE_TIMEOUT_S, SILENCE_TIMEOUT_S, watched_socket
from gswarm.datapool.transfer.wire import MISSING_DIGESTS_MAX
from gswarm.domain.errors import (
    CorruptDataError,
    ForbiddenError,
    GswarmError,
    LimitError,
    NotFoundError,
    StorageError,
    UnauthenticatedError,
    UnavailableError,
)
from gswarm.domain.ids import Digest

MIB = 1 << 20


def digest_of(data: bytes) -> Digest:
    return Digest(blake3(data).hexdigest())


def put(store: BlobStore, data: bytes) -> Digest:
    with store.ingest() as ingest:
        ingest.write(data)
        return ingest.commit()


def anybody(_request: web.Request) -> None:
    return None


class Cluster:
    """Servers and clients that end with the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.slept_s: list[float] = []

    async def serve(self, routes: list[web.RouteDef], ssl_context: ssl.SSLContext | None = None) -> Source:
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context).start()
        port = runner.addresses[0][1]
        return Source(f"{'https' if ssl_context else 'http'}://127.0.0.1:{port}", "pool.test" if ssl_context else None)

    async def pool(self, store: BlobStore, **options: object) -> Source:
        return await self.serve(pool_routes(store, anybody, **options))  # type: ignore[arg-type]

    def client(self, **options: object) -> PoolClient:
        async def sleep(delay_s: float) -> None:
            self.slept_s.append(delay_s)
            # Long enough for a server on this machine to notice that a connection broke.
            await asyncio.sleep(0.02)

        client = PoolClient(**{"sleep": sleep, "uniform": lambda low, high: (low + high) / 2, **options})  # type: ignore[arg-type]
        self._stack.push_async_callback(client.close)
        return client

    async def proxy(self, target: Source, cut_after: list[int], *, uploads: bool = False) -> Source:
        """Forwards connections; the n-th is cut after ``cut_after[n]`` bytes in the given direction, later ones never."""
        port = int(target.url.rpartition(":")[2])

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
            passed = 0
            while data := await reader.read(65536):
                if limit is not None and passed + len(data) >= limit:
                    writer.write(data[: limit - passed])
                    return
                passed += len(data)
                writer.write(data)
                await writer.drain()

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            limit = cut_after.pop(0) if cut_after else None
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            up = asyncio.create_task(pump(reader, far_writer, limit if uploads else None))
            down = asyncio.create_task(pump(far_reader, writer, None if uploads else limit))
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for side in (far_writer, writer):
                side.close()

        server = await asyncio.start_server(connect, "127.0.0.1", 0)
        self._stack.callback(server.close)
        return Source(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(stack)


@pytest.fixture
def there(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "there")


@pytest.fixture
def here(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "here")


def nothing_in_ingest(store: DiskStore) -> bool:
    return not [path for path in (store.root / "ingest").rglob("*") if path.is_file() and not path.name.startswith(".")]


# ---- fetching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 100_000, SEGMENT_BYTES, 3 * SEGMENT_BYTES + 17])
@pytest.mark.parametrize("known", [True, False])
async def test_fetch(cluster: Cluster, there: DiskStore, here: DiskStore, size: int, known: bool) -> None:
    data = os.urandom(size)
    digest = put(there, data)
    await cluster.client().fetch_blob(here, digest, [await cluster.pool(there)], size if known else None)
    assert here.path(digest).read_bytes() == data
    assert nothing_in_ingest(here)


async def test_a_memory_store_serves_and_takes_too(cluster: Cluster) -> None:
    there, here = MemoryStore(), MemoryStore()
    digest = put(there, b"in memory")
    source = await cluster.pool(there)
    await cluster.client().fetch_blob(here, digest, [source])
    assert here.open(digest).read() == b"in memory"
    back = put(here, b"pushed")
    await cluster.client().push_blob(here, back, source)
    assert there.has(back)
    there.close()
    here.close()


async def test_a_blob_is_fetched_once_even_when_asked_for_twice(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    digest = put(there, os.urandom(MIB))
    asked = []
    source = await cluster.serve(pool_routes(there, lambda request: asked.append(request.method)))
    client = cluster.client()
    await asyncio.gather(*(client.fetch_blob(here, digest, [source], MIB) for _ in range(5)))
    assert asked == ["GET"]


async def test_a_broken_transfer_goes_on_where_it_was(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    data = os.urandom(SEGMENT_BYTES)
    digest = put(there, data)
    ranges: list[str] = []
    pool = await cluster.serve(pool_routes(there, lambda request: ranges.append(request.headers["Range"])))
    flaky = await cluster.proxy(pool, [MIB, 100, 2 * MIB])
    await cluster.client().fetch_blob(here, digest, [flaky], len(data))
    assert here.path(digest).read_bytes() == data
    starts = [int(text.removeprefix("bytes=").partition("-")[0]) for text in ranges]
    assert starts == sorted(starts)
    assert MIB // 2 < starts[1] < MIB
    assert starts[3] > 2 * MIB, "what had arrived is not asked for again"


async def test_many_breaks_are_no_failure_as_long_as_bytes_arrive(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    digest = put(there, os.urandom(4 * MIB))
    flaky = await cluster.proxy(await cluster.pool(there), [300_000] * 13)
    await cluster.client(retry=RetryPolicy(attempts=3)).fetch_blob(here, digest, [flaky], 4 * MIB)
    assert here.verify(digest)


async def test_a_dead_source_is_passed_over_without_waiting(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    digest = put(there, b"alive")
    await cluster.client().fetch_blob(here, digest, [Source("http://127.0.0.1:1"), await cluster.pool(there)])
    assert here.has(digest)
    assert cluster.slept_s == []


async def test_no_source_can_be_reached(cluster: Cluster, here: DiskStore) -> None:
    with pytest.raises(UnavailableError):
        await cluster.client(retry=RetryPolicy(attempts=5, first_delay_s=1, max_delay_s=4)).fetch_blob(
            here, digest_of(b""), [Source("http://127.0.0.1:1")]
        )
    assert cluster.slept_s == [1, 2, 4, 4], "bounded, growing, capped"
    with pytest.raises(UnavailableError, match="no source"):
        await cluster.client().fetch_blob(here, digest_of(b""), [])


async def test_an_absent_blob(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    source = await cluster.pool(there)
    for size in (None, 5):
        with pytest.raises(NotFoundError):
            await cluster.client().fetch_blob(here, digest_of(b"absent"), [source, source], size)
    assert nothing_in_ingest(here)


def damaged(store: DiskStore, data: bytes, wrong: bytes) -> Digest:
    """A blob whose file was changed behind the store's back."""
    digest = put(store, data)
    path = store.path(digest)
    path.chmod(0o644)
    path.write_bytes(wrong)
    return digest


@pytest.mark.parametrize("size", [1000, 2 * SEGMENT_BYTES + 5])
@pytest.mark.parametrize("shorter", [0, 10])
@pytest.mark.parametrize("known", [True, False])
async def test_a_corrupt_source_is_not_accepted(
    cluster: Cluster, tmp_path: Path, there: DiskStore, here: DiskStore, size: int, shorter: int, known: bool
) -> None:
    data = os.urandom(size)
    bad = DiskStore(tmp_path / "bad")
    digest = damaged(bad, data, bytes(size - shorter))
    sources = [await cluster.pool(bad)]
    with pytest.raises(CorruptDataError):
        await cluster.client().fetch_blob(here, digest, sources, size if known else None)
    assert not here.has(digest)
    assert nothing_in_ingest(here)
    put(there, data)
    sources.append(await cluster.pool(there))
    await cluster.client().fetch_blob(here, digest, sources, size if known else None)
    assert here.path(digest).read_bytes() == data


async def test_big_blobs_come_from_several_sources(cluster: Cluster, tmp_path: Path, there: DiskStore, here: DiskStore) -> None:
    data = os.urandom(4 * SEGMENT_BYTES)
    second = DiskStore(tmp_path / "second")
    digest = put(there, data)
    put(second, data)
    asked: list[list[str]] = [[], []]
    sources = [
        await cluster.serve(pool_routes(there, lambda request: asked[0].append(request.headers["Range"]))),
        await cluster.serve(pool_routes(second, lambda request: asked[1].append(request.headers["Range"]))),
    ]
    await cluster.client().fetch_blob(here, digest, sources, len(data))
    assert here.verify(digest)
    assert len(asked[0]) == len(asked[1]) == 2


async def test_a_server_that_is_no_pool(cluster: Cluster, here: DiskStore) -> None:
    async def whatever(_request: web.Request) -> web.Response:
        return web.Response(body=b"hello", headers={"Content-Range": "bytes 0-4/7"})

    async def elsewhere(_request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/")

    for handler in (whatever, elsewhere):
        source = await cluster.serve([web.get("/v1/blobs/{digest}", handler), web.post("/v1/blobs/missing", handler)])
        with pytest.raises(UnavailableError):
            await cluster.client().fetch_blob(here, digest_of(b"hello??"), [source], 7)
        with pytest.raises(UnavailableError):
            await cluster.client().push_manifest(here, save_manifest(here, Manifest("test", ())), source)


async def test_a_source_that_stalls_is_given_up(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=206, headers={"Content-Range": "bytes 0-4/5", "Content-Length": "5"})
        await response.prepare(request)
        await response.write(b"he")
        await asyncio.Event().wait()
        return response

    digest = put(there, b"hello")
    sources = [await cluster.serve([web.get("/v1/blobs/{digest}", stall)]), await cluster.pool(there)]
    await cluster.client(idle_timeout_s=0.05).fetch_blob(here, digest, sources, 5)
    assert here.has(digest)


async def test_a_full_disk_here(cluster: Cluster, there: DiskStore) -> None:
    here = MemoryStore(max_bytes=1000)
    digest = put(there, os.urandom(2000))
    with pytest.raises(StorageError):
        await cluster.client().fetch_blob(here, digest, [await cluster.pool(there)])
    assert put(here, bytes(1000)), "nothing of it is left behind"
    here.close()


async def test_a_cancelled_fetch_leaves_nothing(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    digest = put(there, os.urandom(5 * SEGMENT_BYTES))
    client = cluster.client()
    source = await cluster.pool(there)
    fetch = asyncio.create_task(client.fetch_blob(here, digest, [source]))
    while nothing_in_ingest(here):
        await asyncio.sleep(0)
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    assert nothing_in_ingest(here)
    await client.fetch_blob(here, digest, [source])
    assert here.verify(digest)


# ---- pushing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, MIB, 2 * SEGMENT_BYTES])
async def test_push(cluster: Cluster, there: DiskStore, here: DiskStore, size: int) -> None:
    told: list[tuple[Digest, str]] = []
    digest = put(here, os.urandom(size))
    routes = pool_routes(there, lambda _request: "client-1", lambda digest, caller: told.append((digest, caller)))
    await cluster.client().push_blob(here, digest, await cluster.serve(routes))
    assert there.verify(digest)
    assert told == [(digest, "client-1")]
    assert nothing_in_ingest(there)


async def test_a_broken_upload_goes_on_where_it_was(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    data = os.urandom(12 * MIB)
    digest = put(here, data)
    offsets: list[str] = []

    def authorize(request: web.Request) -> None:
        if request.method == "PUT":
            offsets.append(request.query["offset"])

    flaky = await cluster.proxy(await cluster.serve(pool_routes(there, authorize)), [5 * MIB, 3 * MIB], uploads=True)
    await cluster.client().push_blob(here, digest, flaky)
    assert there.path(digest).read_bytes() == data
    assert offsets[0] == "0"
    assert 4 * MIB < int(offsets[1]) <= 5 * MIB
    assert int(offsets[2]) > 7 * MIB
    assert nothing_in_ingest(there)


async def test_an_upload_of_other_bytes_is_refused(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    digest = damaged(here, b"right bytes", b"wrong bytes")
    with pytest.raises(CorruptDataError, match="our copy"):
        await cluster.client().push_blob(here, digest, await cluster.pool(there))
    assert not there.has(digest)
    assert nothing_in_ingest(there)


async def test_a_full_disk_there(cluster: Cluster, here: DiskStore) -> None:
    there = MemoryStore(max_bytes=1000)
    with pytest.raises(StorageError):
        await cluster.client().push_blob(here, put(here, bytes(2000)), await cluster.pool(there))
    there.close()


async def test_a_blob_that_is_too_large(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    source = await cluster.pool(there, blob_bytes_max=1000)
    with pytest.raises(LimitError):
        await cluster.client().push_blob(here, put(here, bytes(1001)), source)
    await cluster.client().push_blob(here, put(here, bytes(1000)), source)


# ---- manifests ------------------------------------------------------------------------------------------------------


def tree(store: BlobStore, count: int) -> Digest:
    entries = tuple(Entry(f"f{n}", put(store, b"tensor %d" % n), len(b"tensor %d" % n)) for n in range(count))
    return save_manifest(store, Manifest("checkpoint", entries))


async def test_600_small_blobs_there_and_back(cluster: Cluster, tmp_path: Path, there: DiskStore, here: DiskStore) -> None:
    digest = tree(there, 600)
    source = await cluster.pool(there)
    client = cluster.client()
    most = len(os.listdir("/proc/self/fd"))
    transfer = asyncio.create_task(client.fetch_manifest(here, digest, [source]))
    while not transfer.done():
        await asyncio.wait({transfer}, timeout=0.005)
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert len((await transfer).entries) == 600
    assert most < 150, "a bounded number of files and connections is open"
    assert missing(here, digest) == []

    third = DiskStore(tmp_path / "third")
    source = await cluster.pool(third)
    assert await client.push_manifest(here, digest, source) > 0
    assert missing(third, digest) == []
    assert await client.push_manifest(here, digest, source) == 0


async def test_only_what_lacks_is_sent_and_the_manifest_last(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    digest = tree(here, 5)
    put(there, b"tensor 3")
    arrived: list[Digest] = []
    source = await cluster.serve(pool_routes(there, anybody, lambda digest, _caller: arrived.append(digest)))
    await cluster.client().push_manifest(here, digest, source)
    assert len(arrived) == 5
    assert digest_of(b"tensor 3") not in arrived
    assert arrived[-1] == digest


async def test_a_manifest_with_a_lost_entry_fails_and_keeps_the_rest(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    digest = tree(there, 20)
    there.delete(digest_of(b"tensor 19"))
    source = await cluster.pool(there)
    with pytest.raises(NotFoundError):
        await cluster.client().fetch_manifest(here, digest, [source])
    put(there, b"tensor 19")
    await cluster.client().fetch_manifest(here, digest, [source])
    assert missing(here, digest) == []


async def test_a_blob_that_is_no_manifest(cluster: Cluster, there: DiskStore, here: DiskStore) -> None:
    with pytest.raises(CorruptDataError):
        await cluster.client().fetch_manifest(here, put(there, b"no manifest"), [await cluster.pool(there)])


# ---- the door -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ForbiddenError("not you"), UnauthenticatedError("who are you")])
async def test_the_unauthorised_are_refused_everywhere(cluster: Cluster, there: DiskStore, here: DiskStore, error: GswarmError) -> None:
    async def authorize(request: web.Request) -> str:
        if request.headers.get("Authorization") != "Bearer right":
            raise error
        return "friend"

    source = await cluster.serve(pool_routes(there, authorize))
    digest, own = tree(there, 2), tree(here, 3)
    stranger = cluster.client()
    for refused in (
        stranger.fetch_blob(here, digest, [source]),
        stranger.fetch_blob(here, digest, [source], 10),
        stranger.push_blob(here, own, source),
        stranger.push_manifest(here, own, source),
    ):
        with pytest.raises(type(error)):
            await refused
    assert not here.has(digest)
    assert not there.has(own)
    assert cluster.slept_s == [], "a refusal is not tried again"
    friend = cluster.client(headers={"Authorization": "Bearer right"})
    await friend.fetch_manifest(here, digest, [source])
    await friend.push_manifest(here, own, source)


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server's, client's) contexts with a certificate for ``pool.test``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pool.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pool.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "tls.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


async def test_over_tls(cluster: Cluster, there: DiskStore, here: DiskStore, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    source = await cluster.serve(pool_routes(there, anybody), tls[0])
    digest, own = put(there, os.urandom(SEGMENT_BYTES + 5)), put(here, os.urandom(SEGMENT_BYTES + 5))
    client = cluster.client(ssl_context=tls[1])
    await client.fetch_blob(here, digest, [source])
    await client.push_blob(here, own, source)
    assert here.verify(digest)
    assert there.verify(own)
    with pytest.raises(UnavailableError):
        await client.fetch_blob(here, digest_of(b""), [Source(source.url, "other.test")])


# ---- the protocol, request by request -------------------------------------------------------------------------------

Ask = Callable[..., Awaitable[tuple[int, Mapping[str, str], bytes]]]


@pytest.fixture
async def ask(cluster: Cluster, there: DiskStore) -> AsyncIterator[Ask]:
    source = await cluster.serve(pool_routes(there, lambda request: request.headers.get("X-Caller")))
    async with aiohttp.ClientSession() as session:

        async def ask(method: str, path: str, **options: object) -> tuple[int, Mapping[str, str], bytes]:
            async with session.request(method, f"{source.url}/v1/blobs/{path}", **options) as response:  # type: ignore[arg-type]
                return response.status, response.headers, await response.read()

        yield ask


@pytest.mark.parametrize(
    ("wanted", "status", "served", "body"),
    [
        (None, 200, None, b"0123456789"),
        ("bytes=2-4", 206, "bytes 2-4/10", b"234"),
        ("bytes=0-", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=8-99", 206, "bytes 8-9/10", b"89"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=10-", 416, "bytes */10", None),
        ("bytes=5-2", 416, "bytes */10", None),
        ("lines=1-2", 416, "bytes */10", None),
    ],
)
async def test_ranges(ask: Ask, there: DiskStore, wanted: str | None, status: int, served: str | None, body: bytes | None) -> None:
    digest = put(there, b"0123456789")
    got, headers, content = await ask("GET", digest, headers={"Range": wanted} if wanted else {})
    assert (got, headers.get("Content-Range")) == (status, served)
    if body is not None:
        assert content == body
        assert headers["ETag"] == f'"{digest}"'


async def test_head_and_bad_digests(ask: Ask, there: DiskStore) -> None:
    digest = put(there, b"0123456789")
    status, headers, _ = await ask("HEAD", digest)
    assert (status, headers["Content-Length"], headers["ETag"]) == (200, "10", f'"{digest}"')
    assert (await ask("HEAD", "0" * 64))[0] == 404
    for bad in ("..%2f..%2fetc%2fpasswd", "x" * 64, "A" * 64):
        for method in ("GET", "HEAD", "PUT"):
            assert (await ask(method, bad))[0] == 400


async def test_uploads_belong_to_their_caller_and_know_their_offset(ask: Ask, there: DiskStore) -> None:
    data = os.urandom(1000)
    digest = digest_of(data)

    async def broken() -> AsyncIterator[bytes]:
        yield data[:400]
        await asyncio.sleep(0.05)
        raise ConnectionAbortedError

    with pytest.raises(aiohttp.ClientError):
        await ask("PUT", digest, data=broken(), headers={"Content-Length": "1000", "X-Caller": "a"})
    while (await ask("HEAD", f"{digest}?upload=1", headers={"X-Caller": "a"}))[0] == 409:
        await asyncio.sleep(0.01)
    for caller, offset in (("a", "400"), ("b", "0")):
        _, headers, _ = await ask("HEAD", f"{digest}?upload=1", headers={"X-Caller": caller})
        assert (headers["Upload-Offset"], headers["Upload-Complete"]) == (offset, "0")
    for caller, offset in (("a", 399), ("a", 401), ("b", 400)):
        status, _, _ = await ask("PUT", f"{digest}?offset={offset}", data=data[offset:], headers={"X-Caller": caller})
        assert status == 409
    for bad in ("-1", "x", "1e3", "9" * 20):
        assert (await ask("PUT", f"{digest}?offset={bad}", data=b""))[0] == 400
    assert (await ask("PUT", f"{digest}?offset=400", data=data[400:], headers={"X-Caller": "a"}))[0] == 201
    assert there.path(digest).read_bytes() == data
    _, headers, _ = await ask("HEAD", f"{digest}?upload=1", headers={"X-Caller": "b"})
    assert headers["Upload-Complete"] == "1"
    assert nothing_in_ingest(there)


async def test_an_upload_without_a_length(ask: Ask) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    assert (await ask("PUT", digest_of(b"x"), data=body()))[0] == 411


async def test_a_question_that_does_not_arrive_is_refused(cluster: Cluster, there: DiskStore) -> None:
    source = await cluster.pool(there, idle_timeout_s=0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(source.url.rpartition(":")[2]))
    writer.write(b"POST /v1/blobs/missing HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n[")
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.transport.abort()


async def test_missing(ask: Ask, there: DiskStore) -> None:
    present, absent = put(there, b"present"), digest_of(b"absent")
    status, _, body = await ask("POST", "missing", json=[present, absent])
    assert (status, body) == (200, f'["{absent}"]'.encode())
    for bad in ({}, "x", [1], ["../x"], [[present]]):
        assert (await ask("POST", "missing", json=bad))[0] == 400
    assert (await ask("POST", "missing", data=b"[" * 100_000))[0] == 400
    assert (await ask("POST", "missing", json=[absent] * (MISSING_DIGESTS_MAX + 1)))[0] == LimitError.http_status
    assert (await ask("POST", "missing", json=[absent] * MISSING_DIGESTS_MAX))[0] == 200


async def test_asking_for_blobs_makes_them_young(ask: Ask, there: DiskStore) -> None:
    digest = put(there, b"present")
    os.utime(there.path(digest), (1, 1))
    await ask("POST", "missing", json=[digest])
    assert there.committed_at_s(digest) > 1


def test_a_vanished_machine_is_noticed_long_before_the_idle_timeout() -> None:
    """What the kernel does about it is shown in tests/faults; here, that it is asked to."""
    with watched_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0))) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000 * SILENCE_TIMEOUT_S < 1000 * IDLE_TIMEOUT_S
        probes = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) * made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) + probes <= SILENCE_TIMEOUT_S


async def test_blobs_are_looked_at_one_at_a_time_also_when_whoever_asked_has_gone(tmp_path: Path) -> None:
    looking, may_end = threading.Semaphore(0), threading.Semaphore(0)
    at_once, most = 0, 0

    def look(_digest: Digest) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        looking.release()
        may_end.acquire()
        at_once -= 1
        return True

    store = MemoryStore()
    store.verify = look  # type: ignore[method-assign]
    head = next(route.handler for route in pool_routes(store, lambda request: None, is_read_only=True) if route.method == "HEAD")

    def ask() -> asyncio.Task[Any]:
        request = make_mocked_request("HEAD", f"/v1/blobs/{'0' * 64}?verify=1", match_info={"digest": "0" * 64})
        return asyncio.get_running_loop().create_task(head(request))

    first = ask()
    await asyncio.to_thread(looking.acquire)
    second, third = ask(), ask()
    await asyncio.sleep(0)
    for gone in (first, third):
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    await asyncio.to_thread(lambda: None)
    for _ in range(3):
        may_end.release()
    assert (await second).status == 404
    assert most == 1
    assert [looking.acquire(blocking=False) for _ in range(2)] == [True, False], "who has gone before its turn gets none"
