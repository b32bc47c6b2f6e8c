"""The host's keeper of blobs: what is about to become a root stays, whatever clocks say."""

from __future__ import annotations

import asyncio

from gswarm.datapool.manifest import save_manifest
from gswarm.datapool.memory import MemoryStore
from gswarm.datapool.pins import Pins
from gswarm.datapool.tree import Entry, Manifest
from gswarm.domain.ids import Digest
from gswarm.host.clock import SystemClock
from gswarm.host.keeper import PoolKeeper


class Rig:
    """Its store's clock was set back by a day, so that every blob looks old; a sweep waits for its roots until it may have them."""

    def __init__(self) -> None:
        self.store = MemoryStore(clock=lambda: 0.0)
        self.may_read = asyncio.Event()
        self.has_read = asyncio.Event()
        self.swept = asyncio.Event()
        self.keeper = PoolKeeper(self.store, Pins(), SystemClock(lambda: 86_400.0), self.roots, lambda roots: self.swept.set(), 0.0)

    async def roots(self) -> list[Digest]:
        self.has_read.set()
        await self.may_read.wait()
        return []

    def put(self) -> Digest:
        with self.store.ingest() as ingest:
            ingest.write(b"weights")
            blob = ingest.commit()
        return save_manifest(self.store, Manifest("checkpoint", (Entry("weights", blob, 7),)))

    async def sweep(self) -> None:
        self.keeper.request_sweep()
        await self.has_read.wait()


async def test_a_commit_that_overlaps_a_sweep_keeps_its_blobs() -> None:
    rig = Rig()
    manifest = rig.put()
    await rig.sweep()
    assert await rig.keeper.lacking(manifest, "commit") == []
    rig.keeper.let_go("commit")
    rig.may_read.set()
    await rig.swept.wait()
    assert len(list(rig.store.digests())) == 2
    await rig.keeper.close()


async def test_what_was_let_go_of_and_became_no_root_goes_with_the_next_sweep() -> None:
    rig = Rig()
    assert await rig.keeper.lacking(rig.put(), "commit") == []
    rig.keeper.let_go("commit")
    rig.may_read.set()
    await rig.sweep()
    await rig.swept.wait()
    assert list(rig.store.digests()) == []
    await rig.keeper.close()
