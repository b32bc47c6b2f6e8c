"""Blobs that go while somebody is about to need them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from test_client_pool import prepare, runner, world

from gswarm.datapool.disk import DiskStore
from gswarm.datapool.manifest import ingest_folder, load_manifest, missing
from gswarm.datapool.pins import Pins
from gswarm.datapool.sweep import GRACE_S, sweep
from gswarm.domain.ids import Digest

NOW_S = 2_000_000_000.0


async def test_what_is_evicted_before_it_was_pinned_comes_again(tmp_path: Path, monkeypatch: Any) -> None:
    async with world(tmp_path) as w:
        wanted = w.make("m")
        blob = load_manifest(w.host, wanted).entries[0].digest
        bring, calls = w.pool._bring, []

        async def brought(digest: Digest) -> set[Digest]:
            fetched = await bring(digest)
            calls.append(digest)
            if len(calls) == 1:
                w.pool.store.delete(blob)
            return fetched

        monkeypatch.setattr(w.pool, "_bring", brought)
        folder = await w.pool.unpack("g1", wanted)
        assert (folder / "part.bin").read_bytes() == b"m" * 100


async def test_what_was_sent_first_is_whole_on_the_host_when_a_job_ends(tmp_path: Path, monkeypatch: Any) -> None:
    """A base that took hours to send has outlived the sweep's grace when the data follows."""
    async with world(tmp_path) as w:
        add = w.pool.add_folder

        async def slowly(owner: str, kind: str, folder: Path) -> Any:
            before = list(w.host.digests())
            made = await add(owner, kind, folder)
            for digest in before:
                w.host.delete(digest)
            return made

        monkeypatch.setattr(w.pool, "add_folder", slowly)
        done = await runner(w).run(prepare("ok"))
        assert done.failure is None
        for size in done.sizes:
            assert not missing(w.host, size.base)
            assert not missing(w.host, size.data)


def test_what_is_let_go_of_while_the_sweep_marks_stays(tmp_path: Path) -> None:
    """Its owner let go because it is a root now, which the roots of this sweep do not say yet."""
    store, pins, folder = DiskStore(tmp_path / "pool"), Pins(), tmp_path / "folder"
    folder.mkdir()
    (folder / "part.bin").write_bytes(b"x")
    manifest, made = ingest_folder(store, "checkpoint", folder)
    blobs = {manifest, *(entry.digest for entry in made.entries)}
    for digest in blobs:
        os.utime(store.path(digest), (NOW_S - GRACE_S - 1,) * 2)
    pins.pin(blobs, "grant:r1:1")

    def roots() -> Iterator[Digest]:
        pins.unpin("grant:r1:1")
        yield from ()

    assert sweep(store, roots(), pins, NOW_S).digests == ()
    assert set(sweep(store, (), pins, NOW_S).digests) == blobs
