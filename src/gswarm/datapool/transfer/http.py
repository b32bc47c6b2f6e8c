"""Single requests to a pool: one question, one answer, no second try."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from gswarm.datapool.layout import CHUNK_BYTES, storage_errors
from gswarm.datapool.transfer.wire import BLOB_BYTES_MAX, UPLOAD_COMPLETE, UPLOAD_OFFSET, problem_error
from gswarm.domain.errors import CorruptDataError, UnavailableError
from gswarm.domain.ids import Digest

CONNECT_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 60.0
"""How long a transfer may stand still before the connection counts as broken."""
SILENCE_ASKED_S, SILENCE_TIMEOUT_S = 5, 9
"""The kernel asks a silent connection after the first whether it lives, and ends it when nothing was acknowledged for the second: a machine
that vanished or has moved is noticed as fast as by gRPC's keepalive, while one that only thinks has the whole idle timeout."""
CONNECTIONS_MAX = 32
_ANSWER_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """Where a pool is served: ``url`` such as ``https://10.0.0.2:8093``, and the name in its certificate if it differs."""

    url: str
    server_hostname: str | None = None


@dataclass(slots=True)
class Segment:
    """The range ``start..stop`` of a blob on its way in, and the buffer that it fills."""

    start: int
    stop: int
    buffer: bytearray
    filled_bytes: int = 0

    def append(self, data: bytes) -> None:
        end = self.filled_bytes + len(data)
        if end > self.stop - self.start:
            raise UnavailableError("more bytes came than were asked for")
        self.buffer[self.filled_bytes : end] = data
        self.filled_bytes = end

    @property
    def data(self) -> memoryview:
        return memoryview(self.buffer)[: self.filled_bytes]


def watched_socket(address: tuple[int, int, int, str, object]) -> socket.socket:
    """A socket for ``address`` (as ``getaddrinfo`` answers) whose dead peer is noticed."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        probes = 2
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENCE_ASKED_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, (SILENCE_TIMEOUT_S - SILENCE_ASKED_S) // probes)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_TIMEOUT_S * 1000)
    return made


class PoolHttp:
    """The requests of ``gswarm.datapool.transfer``, each raising typed errors. UnavailableError means: try again."""

    def __init__(self, ssl_context: ssl.SSLContext | None, headers: Mapping[str, str], idle_timeout_s: float) -> None:
        self._ssl_context = ssl_context
        self._headers = dict(headers)
        self._idle_timeout_s = idle_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=self._ssl_context or True, socket_factory=watched_socket),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._idle_timeout_s),
                headers={"Accept-Encoding": "identity", **self._headers},
                auto_decompress=False,
                read_bufsize=CHUNK_BYTES,
            )
        return self._session

    @asynccontextmanager
    async def _request(
        self, method: str, source: Source, path: str, body: AsyncIterator[bytes] | bytes | None = None, **headers: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer; a refusal is raised as the error that it names."""
        hostname = source.server_hostname if source.url.startswith("https:") else None
        try:
            async with self._open_session().request(
                method,
                f"{source.url.rstrip('/')}/v1/blobs/{path}",
                data=body,
                headers={name.replace("_", "-"): value for name, value in headers.items()},
                allow_redirects=False,
                server_hostname=hostname,
            ) as response:
                if response.status >= 300:
                    raise problem_error(response.status, await _refusal(response))
                yield response
        except (aiohttp.ClientError, aiohttp.InvalidURL, OSError, TimeoutError) as error:
            raise UnavailableError(f"{source.url} cannot be reached: {error or type(error).__name__}", "is it up?") from error

    async def size_bytes(self, source: Source, digest: Digest) -> int:
        async with self._request("HEAD", source, digest) as response:
            return _number(response.headers.get("Content-Length"), source)

    async def doubt(self, source: Source, digest: Digest) -> None:
        """Has the source look at the bytes of its copy. Raises NotFoundError where that was damaged, or is gone."""
        async with self._request("HEAD", source, f"{digest}?verify=1"):
            return

    async def read_segment(self, source: Source, digest: Digest, segment: Segment, size_bytes: int) -> None:
        """Reads what is left of a segment of a blob of ``size_bytes``; after an error the segment has what came.

        Raises:
            CorruptDataError: the source's blob has another size.
        """
        start, stop = segment.start + segment.filled_bytes, segment.stop
        async with self._request("GET", source, digest, Range=f"bytes={start}-{stop - 1}") as response:
            served = response.headers.get("Content-Range", "")
            if served.rpartition("/")[2] != str(size_bytes):
                raise CorruptDataError(f"{source.url} has blob {digest} with another size", "another source may be right")
            if served != f"bytes {start}-{stop - 1}/{size_bytes}" or response.content_length != stop - start:
                raise UnavailableError(f"{source.url} answered with other bytes than asked for")
            while data := await response.content.readany():
                segment.append(data)

    async def missing(self, source: Source, digests: Sequence[Digest]) -> set[Digest]:
        """Which of the digests the pool lacks; at most ``MISSING_DIGESTS_MAX`` at once."""
        body = json.dumps(list(digests)).encode()
        async with self._request("POST", source, "missing", body, Content_Type="application/json") as response:
            answer = _parse(await _read(response, _ANSWER_BYTES_MAX))
        if not isinstance(answer, list):
            raise UnavailableError(f"{source.url} does not answer like a pool")
        return {digest for digest in digests if digest in set(answer)}

    async def upload_offset(self, source: Source, digest: Digest) -> int | None:
        """How many bytes of our unfinished upload are there; ``None`` if the whole blob is."""
        async with self._request("HEAD", source, f"{digest}?upload=1") as response:
            if response.headers.get(UPLOAD_COMPLETE) == "1":
                return None
            return _number(response.headers.get(UPLOAD_OFFSET), source)

    async def put(self, source: Source, digest: Digest, path: Path, offset: int, size_bytes: int) -> None:
        """Sends a file's bytes from ``offset`` on."""
        try:
            async with asyncio.timeout(self._idle_timeout_s) as deadline:
                body = _read_file(path, offset, deadline, self._idle_timeout_s)
                async with self._request(
                    "PUT", source, f"{digest}?offset={offset}", body, Content_Length=str(size_bytes - offset)
                ) as response:
                    await _read(response, _ANSWER_BYTES_MAX)
        except TimeoutError:
            raise UnavailableError(f"the upload to {source.url} stands still", "is it up?") from None


async def _read_file(path: Path, offset: int, deadline: asyncio.Timeout, idle_timeout_s: float) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    with storage_errors(f"read {path}"):
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            await asyncio.to_thread(file.seek, offset)
            while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
                deadline.reschedule(clock() + idle_timeout_s)
                yield data
            deadline.reschedule(clock() + idle_timeout_s)


async def _refusal(response: aiohttp.ClientResponse) -> object:
    if response.method == "HEAD":
        return {"code": _CODES.get(response.status, ""), "detail": f"HTTP status {response.status} from {response.url.origin()}"}
    return _parse(await _read(response, _ANSWER_BYTES_MAX))


_CODES = {
    400: "invalid_input",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    503: "unavailable",
    507: "storage",
}


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    data = bytearray()
    while piece := await response.content.readany():
        data += piece
        if len(data) > limit:
            raise UnavailableError(f"{response.url.origin()} answered with more than {limit} bytes")
    return bytes(data)


def _parse(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _number(text: str | None, source: Source) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 15 or int(text) > BLOB_BYTES_MAX:
        raise UnavailableError(f"{source.url} does not answer like a pool", "check the address")
    return int(text)
