"""A client's blobs: what a grant needs comes in and is unpacked, what was trained goes out. Network trouble is waited out here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from gswarm.client.agent_events import InputDirs
from gswarm.datapool.disk import DiskStore
from gswarm.datapool.manifest import Manifest, ingest_folder, is_manifest, load_manifest, manifest_entries, materialise, missing, reachable
from gswarm.datapool.pins import Pins
from gswarm.datapool.sweep import sweep
from gswarm.datapool.transfer import PoolClient, Source
from gswarm.domain.errors import CorruptDataError, NotFoundError, StorageError, UnavailableError
from gswarm.domain.ids import HOST_HOLDER, ClientName, Digest
from gswarm.domain.plan import Checkpoint
from gswarm.training.protocol import RangeTrained
from gswarm.wire.client import Backoff
from gswarm.wire.tls import server_name

logger = logging.getLogger(__name__)

Locate = Callable[[Sequence[Digest]], Awaitable[dict[Digest, list[tuple[str, str]]]]]
"""Digest to (base URL, holder's name), best first."""
OnDamaged = Callable[[str, Digest], None]
"""Gets the owner for whom blobs are unpacked, and one of them that this disk has changed."""

ABSENT_TRIES = 5
"""How often a blob that nobody has is asked for again: its holder may just be coming back."""
UNREACHABLE_TRIES = 20
"""How often those that the host names as holders are tried in vain, some minutes in all: the slot that waits could do other work."""
RETRY_MAX_S = 15.0

T = TypeVar("T")


class _HoldersAwayError(UnavailableError):
    """The host answers, but nobody gave anything of whom it says that they have it."""


@dataclass(slots=True)
class _Unpacked:
    """A manifest unpacked in the cache. ``fetched``: blobs that came in for it, which can come in again."""

    size_bytes: int
    fetched: set[Digest]
    users: set[str] = field(default_factory=set)


class ClientPool:
    """The client's store, its cache of unpacked manifests and its traffic with other pools. Used by one event loop.

    Args:
        directory: the client's own; ``pool`` and ``cache`` are made in it.
        client: named as a holder of what it stores.
        remote: asks other pools.
        host: the host's pool.
        locate: asks the host who has a manifest.
        budget_bytes: what fetched manifests may take before the one that was not used longest goes.
        on_damaged: is told of every blob that is set aside before it is used.
    """

    def __init__(
        self,
        directory: Path,
        client: ClientName,
        remote: PoolClient,
        host: Source,
        locate: Locate,
        budget_bytes: int,
        on_damaged: OnDamaged = lambda _owner, _digest: None,
    ) -> None:
        self.store = DiskStore(directory / "pool")
        self.pins = Pins()
        self._cache = directory / "cache"
        # Only links to the store's files: made anew faster than checked.
        shutil.rmtree(self._cache, ignore_errors=True)
        self._cache.mkdir(mode=0o700)
        self._client = client
        self._remote = remote
        self._host = host
        self._locate = locate
        self._budget_bytes = budget_bytes
        self._on_damaged = on_damaged
        self._unpacked: dict[Digest, _Unpacked] = {}
        """The one that was not used longest comes first."""
        self._locks: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()

    async def close(self) -> None:
        await self._remote.close()
        await asyncio.to_thread(self.store.close)

    # ---- in -------------------------------------------------------------------------------------------------------

    async def inputs(self, owner: str, base: Digest, data: Digest, checkpoint: Digest | None) -> InputDirs:
        """Folders with these manifests' files, which stay until ``release(owner)``. Waits as long as the host cannot be asked.

        Raises:
            NotFoundError: nobody has one of them.
            UnavailableError: whoever has one of them was out of reach for some minutes.
            CorruptDataError, StorageError: as for the store.
        """
        wanted = [digest for digest in (base, data, checkpoint) if digest is not None]
        paths = await asyncio.gather(*(self.unpack(owner, digest) for digest in wanted))
        return InputDirs(str(paths[0]), str(paths[1]), str(paths[2]) if checkpoint is not None else None)

    async def unpack(self, owner: str, digest: Digest) -> Path:
        """One manifest's folder. Raises like ``inputs``."""
        self.pins.pin([digest], owner)
        lock = self._locks.setdefault(digest, asyncio.Lock())
        async with lock:
            if digest not in self._unpacked:
                for damaged in await asyncio.to_thread(self._set_aside_damaged, digest):
                    self._on_damaged(owner, damaged)
            fetched = await self._bring(digest)
            blobs = await asyncio.to_thread(reachable, self.store, digest)
            self.pins.pin(blobs, owner)
            # Until now the eviction of another manifest could take blobs along.
            fetched |= await self._bring(digest)
            path = self._cache / digest
            manifest = await asyncio.to_thread(materialise, self.store, digest, path)
            known = self._unpacked.pop(digest, None) or _Unpacked(manifest.total_bytes, set())
            known.fetched |= fetched
            known.users.add(owner)
            self._unpacked[digest] = known
        await self._keep_budget()
        return path

    def _set_aside_damaged(self, digest: Digest) -> list[Digest]:
        """Bytes that a disk has changed since they came in would be trained on: what has not its digest any more is fetched anew."""
        if not self.store.has(digest):
            return []
        if not self.store.verify(digest):
            return [digest]
        return [entry for entry in manifest_entries(self.store, digest) if self.store.has(entry) and not self.store.verify(entry)]

    async def _bring(self, digest: Digest) -> set[Digest]:
        """Fetches what the store lacks of a manifest; the blobs that came in."""
        absent = await asyncio.to_thread(missing, self.store, digest)
        if not absent:
            return set()
        # Which entries a manifest names is known only when it has come.
        before = await asyncio.to_thread(lambda: set(self.store.digests())) if digest in absent else set[Digest]()
        manifest = await self._patiently(f"fetch {digest[:12]}", lambda: self._fetch(digest))
        return {digest, *(entry.digest for entry in manifest.entries)} - before if digest in absent else set(absent)

    async def _fetch(self, digest: Digest) -> Manifest:
        places = (await self._locate([digest])).get(digest, [])
        if not places:
            raise NotFoundError(f"nobody has {digest}", "is the client that holds it connected?")
        # The host is asked where this client reaches it: what it is called on its own machine may mean nothing here.
        sources = [self._host if holder == HOST_HOLDER else Source(url, server_name(holder)) for url, holder in places]
        before = await asyncio.to_thread(missing, self.store, digest)
        try:
            return await self._remote.fetch_manifest(self.store, digest, sources)
        except UnavailableError as error:
            if await asyncio.to_thread(missing, self.store, digest) != before:
                raise
            names = ", ".join(dict.fromkeys(holder for _, holder in places))
            raise _HoldersAwayError(f"{digest[:12]} is only at {names}, out of reach from here: {error.message}", error.hint) from error

    def release(self, owner: str) -> None:
        self.pins.unpin(owner)
        for unpacked in self._unpacked.values():
            unpacked.users.discard(owner)

    # ---- out ------------------------------------------------------------------------------------------------------

    async def store_checkpoint(self, owner: str, snapshot: RangeTrained, *, replicate: bool) -> Checkpoint:
        """Takes the snapshot's files into the store and, if ``replicate``, sends the host what it lacks of them.

        Raises:
            StorageError, LimitError: this machine's or the host's disk is full.
        """
        meta = (("run", str(snapshot.run)), ("step", str(snapshot.reached_step)))
        folder = Path(snapshot.snapshot_dir)
        digest, manifest = await asyncio.to_thread(lambda: ingest_folder(self.store, "checkpoint", folder, meta, move=True))
        self.pins.pin({digest, *(entry.digest for entry in manifest.entries)}, owner)
        if replicate:
            await self.push(digest)
        return Checkpoint(
            manifest=digest,
            step=snapshot.reached_step,
            weights_digest=snapshot.weights_digest,
            size_bytes=manifest.total_bytes,
            metrics=tuple((name, value) for name, value in snapshot.metrics if math.isfinite(value)),
            holders=(self._client, HOST_HOLDER) if replicate else (self._client,),
        )

    async def add_folder(self, owner: str, kind: str, folder: Path) -> tuple[Digest, Manifest]:
        """Moves a folder's files into the store and sends them to the host. Raises like ``store_checkpoint``."""
        digest, manifest = await asyncio.to_thread(lambda: ingest_folder(self.store, kind, folder, move=True))
        self.pins.pin({digest, *(entry.digest for entry in manifest.entries)}, owner)
        await self.push(digest)
        return digest, manifest

    async def push(self, digest: Digest) -> None:
        """Sends the host what it lacks of a manifest; waits as long as the network is at fault."""
        with _on_the_host():
            await self._patiently(f"push {digest[:12]}", lambda: self._remote.push_manifest(self.store, digest, self._host))

    # ---- room -----------------------------------------------------------------------------------------------------

    async def sweep(self, roots: Sequence[Digest]) -> None:
        """Deletes what no root reaches, nobody pins and is old enough, and what was unpacked of it."""
        kept = set(roots)
        for digest in [digest for digest, unpacked in self._unpacked.items() if digest not in kept and not unpacked.users]:
            del self._unpacked[digest]
            await asyncio.to_thread(shutil.rmtree, self._cache / digest, ignore_errors=True)
        swept = await asyncio.to_thread(sweep, self.store, kept, self.pins, time.time())
        if swept.digests:
            logger.info("swept %d blobs, %d bytes", len(swept.digests), swept.freed_bytes)

    async def _keep_budget(self) -> None:
        while sum(unpacked.size_bytes for unpacked in self._unpacked.values()) > self._budget_bytes:
            idle = next((digest for digest, unpacked in self._unpacked.items() if not unpacked.users), None)
            if idle is None:
                return
            unpacked = self._unpacked.pop(idle)
            logger.info("%s leaves the cache, %d bytes", idle, unpacked.size_bytes)
            came_in = unpacked.fetched.union(*(other.fetched for other in self._unpacked.values()))
            await asyncio.to_thread(self._evict, idle, unpacked.fetched, came_in)

    def _evict(self, digest: Digest, blobs: set[Digest], came_in: set[Digest]) -> None:
        shutil.rmtree(self._cache / digest, ignore_errors=True)
        for blob in sorted(blobs - self._made_here(came_in)):
            self.pins.if_unpinned(blob, lambda blob=blob: self.store.delete(blob))  # type: ignore[misc]

    def _made_here(self, came_in: set[Digest]) -> set[Digest]:
        """What checkpoints need that did not come from elsewhere: the plan counts on this client for them, and nobody else may have them.

        Read from the store, so that it is known after a restart too; what came in before that counts until it is swept.
        """
        needed: set[Digest] = set()
        for digest in self.store.digests():
            if digest not in came_in:
                with contextlib.suppress(NotFoundError, CorruptDataError):
                    if is_manifest(self.store, digest) and (manifest := load_manifest(self.store, digest)).kind == "checkpoint":
                        needed |= {digest, *(entry.digest for entry in manifest.entries)}
        return needed

    async def _patiently(self, what: str, action: Callable[[], Awaitable[T]]) -> T:
        """Tries again: always while the host cannot be reached, and a number of times while no holder can or nobody has intact bytes."""
        backoff = Backoff(initial_s=0.3, max_s=RETRY_MAX_S)
        absent = unreachable = 0
        while True:
            try:
                return await action()
            except UnavailableError as error:
                unreachable = unreachable + 1 if isinstance(error, _HoldersAwayError) else 0
                if unreachable >= UNREACHABLE_TRIES:
                    raise
                logger.info("cannot %s yet: %s", what, error)
            except (NotFoundError, CorruptDataError) as error:
                # Whoever had a damaged copy has none now; the host may know others.
                logger.info("cannot %s: %s", what, error)
                absent += 1
                if absent >= ABSENT_TRIES:
                    raise
            await asyncio.sleep(next(backoff))


@contextlib.contextmanager
def _on_the_host() -> Iterator[None]:
    """Says of a full or broken disk that it is not this machine's."""
    try:
        yield
    except StorageError as error:
        raise StorageError(f"on the host: {error.message}", error.hint) from error
