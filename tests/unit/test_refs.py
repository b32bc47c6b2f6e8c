"""Pins and sweeps in the cases that a person should be able to read."""

from __future__ import annotations

import pytest

from gswarm.datapool.manifest import Entry, Manifest, save_manifest
from gswarm.datapool.memory import MemoryStore
from gswarm.datapool.pins import Pins
from gswarm.datapool.sweep import sweep
from gswarm.domain.errors import CorruptDataError
from gswarm.domain.ids import Digest

A, B = Digest("a" * 64), Digest("b" * 64)


def test_counts_are_derived_from_owners() -> None:
    pins = Pins()
    pins.pin([A, B], "upload")
    pins.pin([A], "upload")
    pins.pin([A], "grant")
    assert (pins.count(A), pins.count(B)) == (2, 1)
    pins.unpin("upload")
    pins.unpin("upload")
    assert pins.pinned() == {A}
    assert pins.if_unpinned(A, lambda: 1) == 0
    assert pins.if_unpinned(B, lambda: 1) == 1


def put(store: MemoryStore, data: bytes) -> Digest:
    with store.ingest() as ingest:
        ingest.write(data)
        return ingest.commit()


def test_a_damaged_root_stops_the_sweep_before_anything_goes() -> None:
    store = MemoryStore(clock=lambda: 0.0)
    blob = put(store, b"weights")
    root = save_manifest(store, Manifest("test", (Entry("w", blob, 7),)))
    held = store._blobs[root]
    held.data = held.data[:-1]
    with pytest.raises(CorruptDataError):
        sweep(store, [root], Pins(), now_s=100.0, grace_s=1.0)
    assert store.has(blob)
    store.close()


def test_roots_elsewhere_and_plain_blobs_as_roots() -> None:
    store = MemoryStore(clock=lambda: 0.0)
    plain, other = put(store, b"plain"), put(store, b"other!")
    swept = sweep(store, [plain, A], Pins(), now_s=100.0, grace_s=1.0)
    assert (swept.digests, swept.freed_bytes) == ((other,), 6)
    store.close()


def test_a_blob_pinned_or_renewed_after_the_plan_was_made_stays() -> None:
    now_s = 0.0
    store = MemoryStore(clock=lambda: now_s)
    pinned, renewed = put(store, b"pinned"), put(store, b"renewed")

    class LatePins(Pins):
        def pinned(self) -> frozenset[Digest]:
            before = super().pinned()
            self.pin([pinned], "late")
            nonlocal now_s
            now_s = 100.0
            store.renew(renewed)
            return before

    assert sweep(store, [], LatePins(), now_s=100.0, grace_s=1.0).digests == ()
    assert store.has(pinned)
    assert store.has(renewed)
    store.close()
