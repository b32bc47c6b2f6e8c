"""The serving end of a pool: aiohttp routes over a ``BlobStore``."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
from collections.abc import Awaitable, Callable, Set
from typing import BinaryIO

from aiohttp import ClientError, web

from gswarm.datapool.layout import CHUNK_BYTES, checked_digest, storage_errors
from gswarm.datapool.store import BlobStore
from gswarm.datapool.transfer.uploads import Upload, Uploads
from gswarm.datapool.transfer.wire import (
    BLOB_BYTES_MAX,
    MISSING_DIGESTS_MAX,
    UPLOAD_COMPLETE,
    UPLOAD_OFFSET,
    Spool,
    problem_document,
)
from gswarm.domain.errors import (
    CorruptDataError,
    GswarmError,
    InvalidInputError,
    LimitError,
    NotFoundError,
    StorageError,
    UnavailableError,
)
from gswarm.domain.ids import Digest

Authorize = Callable[[web.Request], str | Awaitable[str | None] | None]
"""Raises ForbiddenError or UnauthenticatedError, or returns the caller's name (``None``: its address is the name)."""
OnPut = Callable[[Digest, str], Awaitable[None] | None]
"""Told the digest and the caller after a commit and before the answer: the place to pin an upload."""
Owned = Callable[[Set[Digest], str], Awaitable[Set[Digest]]]
"""To which of these blobs' bytes the caller has a right. What else is here counts as missing for it, until it has brought it in full."""

_log = logging.getLogger("gswarm.datapool")

IDLE_TIMEOUT_S = 30.0
"""How long an upload may send nothing before it is cut; what arrived is kept for a resume."""
KEPT_OPEN_S = 30.0
"""How long a connection without a request stays open, twice as long as callers use one again: one that vanished says no good-bye."""


def pool_routes(
    store: BlobStore,
    authorize: Authorize,
    on_put: OnPut | None = None,
    *,
    owned: Owned | None = None,
    is_read_only: bool = False,
    blob_bytes_max: int = BLOB_BYTES_MAX,
    idle_timeout_s: float = IDLE_TIMEOUT_S,
) -> list[web.RouteDef]:
    """The routes of one pool. Every one of them asks ``authorize`` first.

    Args:
        owned: ``None`` means that everybody who may write has a right to everything that is here.
        is_read_only: no uploads, and no questions that prepare them.
        blob_bytes_max: the largest blob that is taken.
    """
    server = _PoolServer(store, authorize, on_put, owned, blob_bytes_max, idle_timeout_s)
    reading = [
        web.get("/v1/blobs/{digest}", server.guarded(server.get), allow_head=False),
        web.head("/v1/blobs/{digest}", server.guarded(server.head)),
    ]
    if is_read_only:
        return reading
    return [
        *reading,
        web.put("/v1/blobs/{digest}", server.guarded(server.put)),
        web.post("/v1/blobs/missing", server.guarded(server.missing)),
    ]


_Handler = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


class _PoolServer:
    def __init__(
        self,
        store: BlobStore,
        authorize: Authorize,
        on_put: OnPut | None,
        owned: Owned | None,
        blob_bytes_max: int,
        idle_timeout_s: float,
    ) -> None:
        self._store = store
        self._authorize = authorize
        self._on_put = on_put
        self._owned = owned
        self._blob_bytes_max = blob_bytes_max
        self._idle_timeout_s = idle_timeout_s
        self._uploads = Uploads(store)
        self._verifying = asyncio.Lock()

    def guarded(self, handler: _Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler behind the authorisation, with typed errors as problem documents."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                name = self._authorize(request)
                if inspect.isawaitable(name):
                    name = await name
                return await handler(request, name or request.remote or "unknown")
            except GswarmError as error:
                return refusal(error)

        return handle

    async def get(self, request: web.Request, _caller: str) -> web.StreamResponse:
        digest = checked_digest(request.match_info["digest"])
        file, size_bytes = await asyncio.to_thread(_open, self._store, digest)
        with file:
            return await _send(request, file, digest, size_bytes)

    async def head(self, request: web.Request, caller: str) -> web.StreamResponse:
        digest = checked_digest(request.match_info["digest"])
        if "upload" in request.query:
            complete = await self._has_for(caller, digest)
            offset = 0 if complete else self._uploads.offset(caller, digest)
            # Without a length the connection could not be used again.
            return web.Response(headers={"Content-Length": "0", UPLOAD_OFFSET: str(offset), UPLOAD_COMPLETE: "1" if complete else "0"})
        if "verify" in request.query:
            await self._look_at(digest)
        size_bytes = await asyncio.to_thread(self._store.size_bytes, digest)
        return web.Response(headers={"Content-Length": str(size_bytes), **_headers(digest)})

    async def _look_at(self, digest: Digest) -> None:
        """Somebody got bytes that have not this digest: a damaged copy is moved aside and is not here any more. One at a time."""
        await self._verifying.acquire()
        looking = asyncio.create_task(self._verify(digest))
        looking.add_done_callback(self._verified)
        # Whoever asked may have gone by then; the thread goes on, and keeps its turn.
        await asyncio.shield(looking)

    async def _verify(self, digest: Digest) -> None:
        if not await asyncio.to_thread(self._store.verify, digest):
            _log.warning("blob %s is damaged on the disk; it was moved aside", digest)

    def _verified(self, looking: asyncio.Task[None]) -> None:
        self._verifying.release()
        if not looking.cancelled():
            # Whoever still waits is told; asyncio need not complain where nobody does.
            looking.exception()

    async def put(self, request: web.Request, caller: str) -> web.StreamResponse:
        digest = checked_digest(request.match_info["digest"])
        offset = _offset(request.query.get("offset", "0"))
        if request.content_length is None:
            return refusal(InvalidInputError("an upload needs a Content-Length"), status=411)
        size_bytes = offset + request.content_length
        if size_bytes > self._blob_bytes_max:
            return refusal(LimitError(f"a blob of {size_bytes} bytes", f"this pool takes at most {self._blob_bytes_max}"), status=413)
        if not await self._has_for(caller, digest):
            await self._receive(request, caller, digest, offset, size_bytes)
        if self._on_put is not None:
            done = self._on_put(digest, caller)
            if inspect.isawaitable(done):
                await done
        return web.Response(status=201)

    async def _has_for(self, caller: str, digest: Digest) -> bool:
        """Whether the blob is here and the caller need not show that it has the bytes."""
        is_here = await asyncio.to_thread(self._store.renew, digest)
        return is_here and (self._owned is None or digest in await self._owned({digest}, caller))

    async def _receive(self, request: web.Request, caller: str, digest: Digest, offset: int, size_bytes: int) -> None:
        async with self._uploads.claim(caller, digest, offset) as upload:
            try:
                await self._spool(request, upload)
                if upload.received_bytes != size_bytes:
                    raise UnavailableError("the upload broke off", f"go on at its {UPLOAD_OFFSET}")
                await asyncio.to_thread(upload.ingest.commit, digest, size_bytes)
                upload.over = True
            except (StorageError, CorruptDataError):
                upload.over = True
                raise

    async def _spool(self, request: web.Request, upload: Upload) -> None:
        """Takes in what the request carries; returns early, with everything that arrived in place, when it breaks off."""
        spool = Spool(upload.ingest)
        try:
            while data := await self._next_piece(request):
                upload.received_bytes += len(data)
                await spool.feed(data)
        except (OSError, TimeoutError, ClientError, web.RequestPayloadError):
            return
        finally:
            await spool.flush()

    async def _next_piece(self, request: web.Request) -> bytes:
        # Not asyncio.wait_for: in Python 3.11 that loses a cancellation that comes together with the data.
        async with asyncio.timeout(self._idle_timeout_s):
            return await request.content.readany()

    async def missing(self, request: web.Request, caller: str) -> web.StreamResponse:
        try:
            async with asyncio.timeout(self._idle_timeout_s):
                asked = json.loads(await request.read())
        except TimeoutError:
            raise InvalidInputError(f"the question did not arrive within {self._idle_timeout_s:.0f} s") from None
        except (ValueError, RecursionError):
            raise InvalidInputError("the body is no JSON list of digests") from None
        if not isinstance(asked, list):
            raise InvalidInputError("the body is no JSON list of digests")
        if len(asked) > MISSING_DIGESTS_MAX:
            raise LimitError(f"a question about {len(asked)} blobs", f"ask for at most {MISSING_DIGESTS_MAX} at once")
        digests = [checked_digest(text) for text in asked]
        # Those that are here are about to be referred to: a sweep must not take them before that.
        here = await asyncio.to_thread(lambda: {digest for digest in digests if self._store.renew(digest)})
        owned = here if self._owned is None else await self._owned(here, caller)
        return web.json_response([digest for digest in digests if digest not in owned])


def _open(store: BlobStore, digest: Digest) -> tuple[BinaryIO, int]:
    path = store.path(digest)
    with storage_errors(f"read blob {digest}"):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise NotFoundError(f"blob {digest} is not in the data pool any more") from None
        return file, os.fstat(file.fileno()).st_size


def _headers(digest: Digest) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, immutable",
        "ETag": f'"{digest}"',
        "X-Content-Type-Options": "nosniff",
    }


async def _send(request: web.Request, file: BinaryIO, digest: Digest, size_bytes: int) -> web.StreamResponse:
    headers = _headers(digest)
    start, stop, status = 0, size_bytes, 200
    if "Range" in request.headers:
        try:
            wanted = request.http_range
            start, stop, _ = wanted.indices(size_bytes)
        except ValueError:
            start = size_bytes
        if start >= stop:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size_bytes}"})
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = stop - start
    await response.prepare(request)
    if stop > start:
        await _send_range(request, response, file, start, stop - start)
    await response.write_eof()
    return response


async def _send_range(request: web.Request, response: web.StreamResponse, file: BinaryIO, start: int, count: int) -> None:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the caller has gone")
    if not request.secure:
        await asyncio.get_running_loop().sendfile(transport, file, start, count)
        return
    # asyncio's own fallback under TLS visits a thread for every 16 KiB.
    await asyncio.to_thread(file.seek, start)
    while count and (data := await asyncio.to_thread(file.read, min(count, CHUNK_BYTES))):
        await response.write(data)
        count -= len(data)


def _offset(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InvalidInputError(f"{text[:40]!r} is no offset", "use the number in Upload-Offset")
    return int(text)


async def open_server(runner: web.AppRunner) -> web.Server:
    """The runner's server, set up when it is first asked for.

    Before anything looks at where a request goes, it refuses compressed bodies, which cost their sender little and us much,
    and expectations that nobody can meet, over which aiohttp stumbles. The runner must not unpack by itself (``auto_decompress=False``).
    """
    is_new = runner.server is None
    if is_new:
        await runner.setup()
    server = runner.server
    assert server is not None
    if is_new:
        server.request_handler = _strict(server.request_handler)
    return server


def _strict(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if any(value.strip().lower() not in ("", "identity") for value in request.headers.getall("Content-Encoding", ())):
            error = InvalidInputError("compressed bodies are not taken", "send the body as it is, without Content-Encoding")
            refused = refusal(error, status=415)
        elif request.headers.get("Expect", "100-continue").lower() != "100-continue":
            refused = refusal(InvalidInputError("a pool does not meet this expectation", "leave Expect away"), status=417)
        else:
            return await answer(request)
        refused.force_close()
        return refused

    return handle


def refusal(error: GswarmError, status: int | None = None) -> web.Response:
    """The error as a problem document (RFC 9457)."""
    return web.json_response(problem_document(error), status=status or error.http_status, content_type="application/problem+json")
