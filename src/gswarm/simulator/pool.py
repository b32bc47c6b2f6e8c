"""A client's pool on a pretended disk and network: ``client.pool.ClientPool`` without files, with the real pins, sweep and locator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gswarm.client.agent_events import InputDirs
from gswarm.client.pool import ABSENT_TRIES, RETRY_MAX_S
from gswarm.datapool.pins import Pins
from gswarm.datapool.store import BlobStore
from gswarm.datapool.sweep import sweep
from gswarm.domain.errors import NotFoundError, StorageError, UnavailableError
from gswarm.domain.ids import HOST_HOLDER, ClientName, Digest
from gswarm.domain.plan import Checkpoint
from gswarm.host.core import HostCore
from gswarm.simulator.disk import SimStore
from gswarm.simulator.lineage import absent, save_blob, save_tree, save_weights, tree_of
from gswarm.simulator.network import Network
from gswarm.simulator.process import Machine, Process
from gswarm.simulator.trainers import SimSnapshots
from gswarm.training.protocol import RangeTrained
from gswarm.wire.client import Backoff
from gswarm.wire.tls import ROLE_CLIENT, Peer

T = TypeVar("T")


class SimPool:
    """The part of ``ClientPool`` that the client's loop and its jobs use.

    Args:
        machines: every machine's store by its name; the host's is named ``host``.
        host_core: the host process that runs now.
    """

    def __init__(
        self,
        process: Process,
        network: Network,
        machines: dict[str, tuple[Machine, SimStore]],
        host_core: Callable[[], HostCore],
        snapshots: SimSnapshots,
    ) -> None:
        self._process = process
        self._network = network
        self._machines = machines
        self._host_core = host_core
        self._snapshots = snapshots
        self._client = ClientName(process.machine.name)
        self.store: BlobStore = machines[process.machine.name][1]
        self.pins = Pins()

    # ---- in --------------------------------------------------------------------------------------------------------

    async def inputs(self, owner: str, base: Digest, data: Digest, checkpoint: Digest | None) -> InputDirs:
        wanted = [digest for digest in (base, data, checkpoint) if digest is not None]
        await asyncio.gather(*(self.unpack(owner, digest) for digest in wanted))
        return InputDirs(base, data, checkpoint)

    async def unpack(self, owner: str, digest: Digest) -> None:
        """Raises NotFoundError when nobody has it, StorageError when this disk is full."""
        self.pins.pin([digest], owner)
        await self._bring(digest)
        self.pins.pin(tree_of(self.store, digest), owner)
        await self._bring(digest)

    async def _bring(self, digest: Digest) -> None:
        if await asyncio.to_thread(absent, self.store, digest):
            await self._patiently(lambda: self._fetch(digest))

    async def _fetch(self, digest: Digest) -> None:
        host, _ = self._machines[HOST_HOLDER]
        peer = Peer(self._client, ROLE_CLIENT)
        places = (await self._network.call(self._process, host, lambda: self._host_core().sessions.locate(peer, [digest])))[digest]
        if not places:
            raise NotFoundError(f"nobody has {digest}")
        await self._fetch_blob(digest, [holder for _, holder in places])
        for blob in absent(self.store, digest):
            await self._fetch_blob(blob, [holder for _, holder in places])

    async def _fetch_blob(self, digest: Digest, holders: Sequence[str]) -> None:
        error: NotFoundError | UnavailableError = NotFoundError(f"nobody has {digest}")
        for holder in holders:
            machine, store = self._machines[holder]
            try:
                data = await self._network.call(self._process, machine, lambda store=store: _read(store, digest))  # type: ignore[misc]
            except (NotFoundError, UnavailableError) as raised:
                error = raised
                continue
            await asyncio.to_thread(save_blob, self.store, data)
            return
        raise error

    def release(self, owner: str) -> None:
        self.pins.unpin(owner)

    # ---- out -------------------------------------------------------------------------------------------------------

    async def store_checkpoint(self, owner: str, snapshot: RangeTrained, *, replicate: bool) -> Checkpoint:
        weights = self._snapshots.content[snapshot.snapshot_dir]
        digest = await asyncio.to_thread(save_weights, self.store, snapshot.run, weights)
        blobs = tree_of(self.store, digest)
        self.pins.pin(blobs, owner)
        if replicate:
            await self.push(digest)
        holders = (self._client, HOST_HOLDER) if replicate else (self._client,)
        return Checkpoint(digest, snapshot.reached_step, snapshot.weights_digest, 10, snapshot.metrics, holders)

    async def add_tree(self, owner: str, kind: str, files: dict[str, bytes]) -> Digest:
        """Stores files under a manifest and sends them to the host."""
        digest = await asyncio.to_thread(save_tree, self.store, kind, files)
        self.pins.pin(tree_of(self.store, digest), owner)
        await self.push(digest)
        return digest

    async def push(self, digest: Digest) -> None:
        await self._patiently(lambda: self._push(digest))

    async def _push(self, digest: Digest) -> None:
        """What the host lacks, the manifest last."""
        host, store = self._machines[HOST_HOLDER]
        wanted = tree_of(self.store, digest)[::-1]
        for blob in await self._network.call(self._process, host, lambda: _lacking(store, wanted)):
            data = await _read(self.store, blob)
            try:
                await self._network.call(self._process, host, lambda data=data: asyncio.to_thread(save_blob, store, data))  # type: ignore[misc]
            except StorageError as error:
                raise StorageError(f"on the host: {error.message}", error.hint) from error

    # ---- room ------------------------------------------------------------------------------------------------------

    async def sweep(self, roots: Sequence[Digest]) -> None:
        await asyncio.to_thread(sweep, self.store, set(roots), self.pins, self._process.machine.wall_s())

    async def _patiently(self, action: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff(initial_s=0.3, max_s=RETRY_MAX_S, random_unit=self._process.random.random)
        absent = 0
        while True:
            try:
                return await action()
            except UnavailableError:
                pass
            except NotFoundError:
                absent += 1
                if absent >= ABSENT_TRIES:
                    raise
            await asyncio.sleep(next(backoff))


async def _read(store: BlobStore, digest: Digest) -> bytes:
    with store.open(digest) as file:
        return file.read()


async def _lacking(store: BlobStore, digests: Sequence[Digest]) -> list[Digest]:
    return [digest for digest in digests if not store.has(digest)]
