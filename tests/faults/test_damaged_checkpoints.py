"""A bit flipped in a blob on a disk: whoever reads it notices, and gets intact bytes from somebody else, or says that there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults_rig import flip_bit
from test_client_pool import World, world

from gswarm.client import pool as client_pool
from gswarm.datapool.disk import DiskStore
from gswarm.datapool.manifest import manifest_entries
from gswarm.domain.errors import CorruptDataError, NotFoundError
from gswarm.domain.ids import Digest
from gswarm.wire.client import Backoff


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_pool, "Backoff", lambda **_given: Backoff(initial_s=1e-3, max_s=1e-3))


def files(store: DiskStore, digest: Digest) -> list[Path]:
    """Of a manifest and its blobs."""
    return [store.path(one) for one in (digest, *manifest_entries(store, digest))]


def again(made: World, digest: Digest) -> None:
    """The client has the manifest with its blobs, too."""
    for file in files(made.host, digest):
        made.pool.store.put_file(file)


async def unpacked(made: World, digest: Digest) -> bytes:
    return (await made.pool.unpack("grant:r1:1", digest) / "part.bin").read_bytes()


@pytest.mark.parametrize("which", [0, 1], ids=["manifest", "weights"])
async def test_a_damaged_copy_of_the_clients_own_is_named_and_fetched_again(
    which: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path) as made:
        digest = made.make("good")
        again(made, digest)
        damaged = files(made.pool.store, digest)[which]
        flip_bit(damaged, 77)
        told: list[tuple[str, Digest]] = []
        made.pool._on_damaged = lambda owner, blob: told.append((owner, blob))
        assert await unpacked(made, digest) == ("good" * 100).encode()[:100]
        (aside,) = (made.pool.store.root / "corrupt").iterdir()
        assert told == [("grant:r1:1", damaged.name)]
        warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert warnings == [f"blob {damaged.name} was damaged on this disk: it is set aside as {aside}"]


async def test_a_damaged_copy_of_the_hosts_is_set_aside_and_another_holder_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with world(tmp_path) as made, world(tmp_path / "other") as other:
        digest = made.make("good")
        assert other.make("good") == digest
        damaged = files(made.host, digest)[1]
        flip_bit(damaged, 77)
        made.places[digest] = [(made.url, "host"), (other.url, "b")]
        assert await unpacked(made, digest) == ("good" * 100).encode()[:100]
        assert f"blob {damaged.name} was damaged on this disk: it is set aside as {made.host.root}/corrupt/" in caplog.text


async def test_the_host_names_others_once_it_knows_that_its_copy_is_damaged(tmp_path: Path) -> None:
    async with world(tmp_path) as made, world(tmp_path / "other") as other:
        digest = made.make("good")
        assert other.make("good") == digest
        damaged = files(made.host, digest)[1]
        flip_bit(damaged, 77)

        async def locate(digests: object) -> dict[Digest, list[tuple[str, str]]]:
            return {digest: [(made.url, "host")] if damaged.exists() else [(other.url, "b")]}

        made.pool._locate = locate
        assert await unpacked(made, digest) == ("good" * 100).encode()[:100]


async def test_where_every_copy_is_damaged_nothing_is_trained_on(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        digest = made.make("good")
        again(made, digest)
        for store in (made.host, made.pool.store):
            flip_bit(files(store, digest)[1], 77)
        with pytest.raises((CorruptDataError, NotFoundError)):
            await unpacked(made, digest)
