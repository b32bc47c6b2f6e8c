"""The asking end of a pool: whole blobs and manifests, from several sources, in spite of broken connections."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from gswarm.datapool.manifest import Manifest, load_manifest
from gswarm.datapool.store import BlobStore, Ingest
from gswarm.datapool.transfer.http import IDLE_TIMEOUT_S, PoolHttp, Segment, Source
from gswarm.datapool.transfer.wire import MISSING_DIGESTS_MAX
from gswarm.domain.errors import ConflictError, CorruptDataError, GswarmError, NotFoundError, StorageError, UnavailableError
from gswarm.domain.ids import Digest

SEGMENT_BYTES = 4 * 1024 * 1024
"""A blob is fetched in ranges of this size."""
SEGMENTS_AHEAD = 4
"""How many ranges of one blob are on their way at a time, from as many sources as there are."""
SEGMENTS_MAX = 12
"""How many ranges a client holds in memory at a time, over all blobs."""
LANES = 8
"""How many blobs of a manifest are on their way at a time."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is tried that brings nothing, and how long the pauses are; each is drawn from 50 to 150 %."""

    attempts: int = 6
    first_delay_s: float = 0.2
    max_delay_s: float = 5.0


class PoolClient:
    """Moves blobs between a local store and pools elsewhere. Used by one event loop; several transfers may run at once.

    Args:
        ssl_context: for ``https`` sources; ``None`` for plain ``http``.
        headers: sent with every request, for example an ``Authorization``.
        sleep, uniform: how to wait and to draw from a range; tests pass their own.
    """

    def __init__(
        self,
        ssl_context: ssl.SSLContext | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._http = PoolHttp(ssl_context, headers or {}, idle_timeout_s)
        self._retry = retry or RetryPolicy()
        self._sleep = sleep
        self._uniform = uniform
        self._places = asyncio.Semaphore(SEGMENTS_MAX)
        self._buffers: list[bytearray] = []
        self._fetching: WeakValueDictionary[tuple[int, Digest], asyncio.Lock] = WeakValueDictionary()

    async def close(self) -> None:
        await self._http.close()

    async def fetch_blob(self, store: BlobStore, digest: Digest, sources: Sequence[Source], size_bytes: int | None = None) -> None:
        """Brings a blob into the store, unless it is there.

        Sources that fail are tried again after the others, and bytes that arrived are not asked for twice. Sources that
        disagree, or whose bytes have the wrong digest, are asked one by one, once they have looked at their own copies.

        Raises:
            NotFoundError, ForbiddenError, UnauthenticatedError, UnavailableError, CorruptDataError: no source could give it;
                the last source's reason.
            StorageError: the store cannot take it.
        """
        lock = self._fetching.setdefault((id(store), digest), asyncio.Lock())
        async with lock:
            if await asyncio.to_thread(store.renew, digest):
                return
            attempt = _Sources(sources)
            try:
                await self._fetch(store, digest, attempt, size_bytes)
                return
            except CorruptDataError as error:
                reason: GswarmError = error
            for source in sources:
                try:
                    await self._http.doubt(source, digest)
                    await self._fetch(store, digest, _Sources([source]), size_bytes)
                    return
                except StorageError:
                    raise
                except NotFoundError:
                    continue  # it had a damaged copy, which is what the caller should hear
                except GswarmError as error:
                    reason = error
            raise reason

    async def fetch_manifest(self, store: BlobStore, digest: Digest, sources: Sequence[Source]) -> Manifest:
        """Brings a manifest and all its blobs into the store. Raises like ``fetch_blob``; what arrived before an error stays."""
        await self.fetch_blob(store, digest, sources)
        manifest = await asyncio.to_thread(load_manifest, store, digest)
        sizes = {entry.digest: entry.size_bytes for entry in manifest.entries}
        await _in_lanes(sizes.items(), lambda item: self.fetch_blob(store, item[0], sources, item[1]))
        return manifest

    async def push_blob(self, store: BlobStore, digest: Digest, target: Source) -> None:
        """Sends a blob; an upload that broke off goes on where it was.

        Raises:
            NotFoundError: the store does not hold the blob.
            CorruptDataError: our own copy is damaged; it is moved aside.
            StorageError: the target is full. ForbiddenError, UnauthenticatedError, LimitError: it refuses.
            UnavailableError: it could not be reached in spite of all tries.
        """
        path = await asyncio.to_thread(store.path, digest)
        size_bytes = await asyncio.to_thread(store.size_bytes, digest)
        sent_bytes = failures = 0
        ask = size_bytes > SEGMENT_BYTES
        while True:
            try:
                offset = await self._http.upload_offset(target, digest) if ask else 0
                if offset is None:
                    return
                # Progress makes up for failures: a large blob may take any number of connections.
                failures = 0 if offset > sent_bytes else failures
                sent_bytes = max(offset, sent_bytes)
                await self._http.put(target, digest, path, offset if offset <= size_bytes else 0, size_bytes)
                return
            except CorruptDataError:
                if not await asyncio.to_thread(store.verify, digest):
                    raise CorruptDataError(f"our copy of blob {digest} is corrupt", "it was moved aside: fetch or make it again") from None
                failures = self._count(failures, UnavailableError(f"{target.url} received blob {digest} damaged", "try again"))
            except (UnavailableError, ConflictError) as error:
                failures = self._count(failures, error)
            await self._pause(failures)
            ask = True

    async def push_manifest(self, store: BlobStore, digest: Digest, target: Source) -> int:
        """Sends what the target lacks of a manifest, the manifest itself last; bytes of the blobs sent. Raises like ``push_blob``."""
        manifest = await asyncio.to_thread(load_manifest, store, digest)
        sizes = {entry.digest: entry.size_bytes for entry in manifest.entries}
        absent: list[Digest] = []
        wanted = [*sizes, digest]
        for start in range(0, len(wanted), MISSING_DIGESTS_MAX):
            absent += await self._missing(target, wanted[start : start + MISSING_DIGESTS_MAX])
        await _in_lanes((blob for blob in absent if blob != digest), lambda blob: self.push_blob(store, blob, target))
        if digest in absent:
            await self.push_blob(store, digest, target)
        return sum(sizes.get(blob, 0) for blob in absent)

    async def _missing(self, target: Source, digests: Sequence[Digest]) -> set[Digest]:
        return await self._ask(_Sources([target]), lambda source: self._http.missing(source, digests))

    async def _fetch(self, store: BlobStore, digest: Digest, sources: _Sources, size_bytes: int | None) -> None:
        if size_bytes is None:
            size_bytes = await self._ask(sources, lambda source: self._http.size_bytes(source, digest))
        ingest = store.ingest()
        ahead: deque[tuple[Segment, asyncio.Task[None]]] = deque()
        try:
            for start in range(0, size_bytes, SEGMENT_BYTES):
                # Waiting for a place while holding one could wait for ever.
                while len(ahead) >= SEGMENTS_AHEAD or (ahead and self._places.locked()):
                    await self._take_in(ingest, ahead)
                await self._places.acquire()
                # Memory that was written before takes the bytes several times faster than fresh pages.
                buffer = self._buffers.pop() if self._buffers else bytearray(SEGMENT_BYTES)
                segment = Segment(start, min(start + SEGMENT_BYTES, size_bytes), buffer)
                ahead.append((segment, asyncio.create_task(self._receive(sources, digest, segment, size_bytes))))
            while ahead:
                await self._take_in(ingest, ahead)
            await asyncio.to_thread(ingest.commit, digest, size_bytes)
        finally:
            for _, receiving in ahead:
                receiving.cancel()
                self._places.release()
            await asyncio.gather(*(receiving for _, receiving in ahead), return_exceptions=True)
            await asyncio.to_thread(ingest.__exit__, None, None, None)

    async def _take_in(self, ingest: Ingest, ahead: deque[tuple[Segment, asyncio.Task[None]]]) -> None:
        segment, receiving = ahead[0]
        await receiving
        await asyncio.to_thread(ingest.write, segment.data)
        ahead.popleft()
        self._buffers.append(segment.buffer)
        self._places.release()

    async def _receive(self, sources: _Sources, digest: Digest, segment: Segment, size_bytes: int) -> None:
        async def read(source: Source) -> None:
            sources.used.add(source)
            await self._http.read_segment(source, digest, segment, size_bytes)

        await self._ask(sources, read, progress=lambda: segment.filled_bytes)

    async def _ask(
        self, sources: _Sources, action: Callable[[Source], Awaitable[_Result]], progress: Callable[[], int] = lambda: 0
    ) -> _Result:
        """The first answer; the source that failed least and is least busy is asked next. CorruptDataError ends it."""
        failures = dict.fromkeys(sources.usable, 0)
        while True:
            source = sources.pick(failures)
            sources.busy[source] += 1
            before = progress()
            try:
                await self._pause(failures[source])
                return await action(source)
            except CorruptDataError:
                raise
            except UnavailableError as error:
                sources.failed.add(source)
                # Progress makes up for failures: a range may take any number of connections.
                failures[source] = self._count(0 if progress() > before else failures[source], error)
            except GswarmError as error:
                sources.drop(source, error)
            finally:
                sources.busy[source] -= 1

    def _count(self, failures: int, error: GswarmError) -> int:
        """One failure more; raises ``error`` after the last try."""
        if failures + 1 >= self._retry.attempts:
            raise error
        return failures + 1

    async def _pause(self, failures: int) -> None:
        """Waits after failures in a row, longer each time."""
        if failures:
            delay_s = min(self._retry.first_delay_s * 2 ** (failures - 1), self._retry.max_delay_s)
            await self._sleep(delay_s * self._uniform(0.5, 1.5))


class _Sources:
    """The sources of one blob while it is being fetched."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.usable = list(dict.fromkeys(sources))
        self.used: set[Source] = set()
        self.failed: set[Source] = set()
        self.busy = dict.fromkeys(self.usable, 0)
        self._reason: GswarmError = UnavailableError("there is no source to fetch from", "is a client that holds it connected?")

    def pick(self, failures: Mapping[Source, int]) -> Source:
        """Raises the reason of the source that was dropped last when none is left."""
        if not self.usable:
            raise self._reason
        return min(self.usable, key=lambda source: (failures[source], source in self.failed, self.busy[source]))

    def drop(self, source: Source, reason: GswarmError) -> None:
        self._reason = reason
        if source in self.usable:
            self.usable.remove(source)


async def _in_lanes(items: Iterable[_Item], action: Callable[[_Item], Awaitable[None]]) -> None:
    """Runs ``action`` on every item, ``LANES`` at a time; the first error ends all and is raised."""
    waiting = iter(items)

    async def lane() -> None:
        for item in waiting:
            await action(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(LANES):
                group.create_task(lane())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
