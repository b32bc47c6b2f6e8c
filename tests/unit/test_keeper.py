"""The host's keeper of blobs: what is about to become a root stays, whatever clocks say."""

from __future__ import annotations

import asyncio
import threading

from gswarm.datapool.manifest import save_manifest
from gswarm.datapool.memory import MemoryStore
from gswarm.datapool.pins import Pins
from gswarm.datapool.tree import Entry, Manifest
from gswarm.domain.ids import Digest
from gswarm.host.clock import SystemClock
from gswarm.host.keeper import PoolKeeper


class Rig:
    """The host's clock is a day ahead of its store's, which was set back; a sweep waits for its roots until it may have them."""

    def __init__(self) -> None:
        self.store_now_s = 0.0
        self.store = MemoryStore(clock=lambda: self.store_now_s)
        self.may_read = asyncio.Event()
        self.has_read = asyncio.Event()
        self.swept = asyncio.Event()
        self.keeper = PoolKeeper(self.store, Pins(), SystemClock(lambda: 86_400.0), self.roots, lambda roots: self.swept.set(), 0.0)

    async def roots(self) -> list[Digest]:
        self.has_read.set()
        await self.may_read.wait()
        return []

    def a_day_passes(self) -> None:
        """By the store's clock: every blob looks old."""
        self.store_now_s = 86_400.0

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
    rig.a_day_passes()
    rig.may_read.set()
    await rig.swept.wait()
    assert len(list(rig.store.digests())) == 2
    await rig.keeper.close()


async def test_a_clock_that_was_set_back_makes_no_upload_old() -> None:
    """Nothing refers to its first blobs, and nobody holds them, until its manifest is there."""
    rig = Rig()
    rig.put()
    rig.may_read.set()
    await rig.sweep()
    await rig.swept.wait()
    assert len(list(rig.store.digests())) == 2
    await rig.keeper.close()


async def test_what_was_let_go_of_and_became_no_root_goes_with_the_next_sweep() -> None:
    rig = Rig()
    assert await rig.keeper.lacking(rig.put(), "commit") == []
    rig.keeper.let_go("commit")
    rig.a_day_passes()
    rig.may_read.set()
    await rig.sweep()
    await rig.swept.wait()
    assert list(rig.store.digests()) == []
    await rig.keeper.close()


async def test_a_check_that_is_cut_short_pins_nothing_for_ever() -> None:
    """Its thread goes on after the session has ended, and its caller has let go."""
    rig = Rig()
    manifest = rig.put()
    began, may_end, verify = threading.Event(), threading.Event(), rig.store.verify

    def slow(digest: Digest) -> bool:
        began.set()
        may_end.wait()
        return verify(digest)

    rig.store.verify = slow  # type: ignore[method-assign]

    async def commit() -> None:
        try:
            await rig.keeper.lacking(manifest, "commit")
        finally:
            rig.keeper.let_go("commit")

    committing = asyncio.create_task(commit())
    await asyncio.to_thread(began.wait)
    committing.cancel()
    await asyncio.wait([committing])
    may_end.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    for _ in range(5):
        await asyncio.sleep(0)
    assert rig.keeper.pins.pinned() == frozenset()
    await rig.keeper.close()
