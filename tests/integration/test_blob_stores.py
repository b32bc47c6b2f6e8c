"""One suite for every blob store, and what only a disk can do wrong."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blake3 import blake3

from gswarm.datapool.disk import CORRUPT_KEPT_MAX, DiskStore
from gswarm.datapool.memory import MemoryStore
from gswarm.datapool.store import BlobStore
from gswarm.domain.errors import CorruptDataError, InvalidInputError, InvariantError, NotFoundError, StorageError
from gswarm.domain.ids import Digest


def digest_of(data: bytes) -> Digest:
    return Digest(blake3(data).hexdigest())


def put(store: BlobStore, data: bytes) -> Digest:
    with store.ingest() as ingest:
        ingest.write(data)
        return ingest.commit()


def ingest_files(root: Path) -> list[Path]:
    return [path for path in (root / "ingest").rglob("*") if path.is_file() and not path.name.startswith(".")]


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    store = DiskStore(tmp_path / "pool") if request.param == "disk" else MemoryStore(max_bytes=64 << 20)
    yield store
    store.close()


@pytest.mark.parametrize("size", [0, 1, 1024, 1 << 20, (3 << 20) + 1])
def test_what_is_committed_can_be_read(store: BlobStore, size: int) -> None:
    data = os.urandom(size)
    with store.ingest() as ingest:
        for start in range(0, size, 700_001):
            ingest.write(memoryview(data)[start : start + 700_001])
        assert not store.has(digest_of(data))
        digest = ingest.commit(digest_of(data), size)
    assert digest == digest_of(data)
    assert store.has(digest)
    assert store.size_bytes(digest) == size
    assert store.path(digest).read_bytes() == data
    with store.open(digest) as file:
        assert file.read() == data
    assert store.verify(digest)
    assert list(store.digests()) == [digest]


def test_an_ingest_without_commit_leaves_nothing(store: BlobStore) -> None:
    with store.ingest() as ingest:
        ingest.write(b"lost")
    assert list(store.digests()) == []
    with pytest.raises(InvariantError):
        ingest.write(b"more")
    with pytest.raises(InvariantError):
        ingest.commit()


@pytest.mark.parametrize(("expected", "size"), [(digest_of(b"other"), None), (None, 6), (digest_of(b"bytes"), 4)])
def test_wrong_digest_or_size_is_refused(store: BlobStore, expected: Digest | None, size: int | None) -> None:
    with store.ingest() as ingest:
        ingest.write(b"bytes")
        with pytest.raises(CorruptDataError):
            ingest.commit(expected, size)
    assert list(store.digests()) == []


def test_commit_is_idempotent(store: BlobStore) -> None:
    with store.ingest() as ingest:
        ingest.write(b"once")
        assert ingest.commit() == ingest.commit()
    assert put(store, b"once") == digest_of(b"once")
    assert list(store.digests()) == [digest_of(b"once")]


def test_equal_content_from_many_threads(store: BlobStore) -> None:
    data = os.urandom(300_000)
    barrier = threading.Barrier(8)

    def ingest(_: int) -> Digest:
        with store.ingest() as one:
            one.write(data)
            barrier.wait()
            return one.commit()

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ingest, range(8))) == {digest_of(data)}
    assert store.verify(digest_of(data))


@pytest.mark.parametrize("bad", ["", "ab", "../../../etc/passwd", "A" * 64, "g" * 64, "a" * 63 + "/", "a" * 65, "a" * 64 + "\n"])
def test_only_digests_become_paths(store: BlobStore, bad: str) -> None:
    for method in (store.has, store.size_bytes, store.path, store.open, store.verify, store.delete, store.renew, store.committed_at_s):
        with pytest.raises(InvalidInputError):
            method(Digest(bad))


def test_an_absent_blob(store: BlobStore) -> None:
    absent = digest_of(b"absent")
    assert not store.has(absent)
    assert not store.renew(absent)
    assert store.delete(absent) == 0
    for method in (store.size_bytes, store.path, store.open, store.verify, store.committed_at_s):
        with pytest.raises(NotFoundError):
            method(absent)


def test_delete_frees_and_can_spare_what_is_young(store: BlobStore) -> None:
    digest = put(store, b"x" * 1000)
    committed_s = store.committed_at_s(digest)
    assert store.delete(digest, if_older_than_s=committed_s) == 0
    assert store.has(digest)
    assert store.delete(digest, if_older_than_s=committed_s + 1) == 1000
    assert not store.has(digest)
    assert put(store, b"x" * 1000) == digest


def test_a_store_tells_the_time_that_its_blobs_go_by(store: BlobStore) -> None:
    before_s = store.now_s()
    digest = put(store, b"x")
    assert before_s <= store.committed_at_s(digest) <= store.now_s()


def test_committing_again_makes_a_blob_young_again(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    digest = put(store, b"old")
    os.utime(store.path(digest), (1, 1))
    assert store.committed_at_s(digest) == 1
    put(store, b"old")
    assert store.committed_at_s(digest) > 1
    os.utime(store.path(digest), (1, 1))
    assert store.renew(digest)
    assert store.committed_at_s(digest) > 1


@pytest.mark.parametrize("move", [False, True])
def test_put_file(store: BlobStore, tmp_path: Path, move: bool) -> None:
    data = os.urandom(2_500_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(CorruptDataError):
        store.put_file(path, digest_of(b"other"), move=move)
    assert path.read_bytes() == data
    assert list(store.digests()) == []
    for _ in range(2):
        path.write_bytes(data) if not path.exists() else None
        assert store.put_file(path, digest_of(data), move=move) == digest_of(data)
        assert path.exists() != move
    assert store.verify(digest_of(data))
    with pytest.raises(NotFoundError):
        store.put_file(tmp_path / "nothing")


def test_moving_renames_but_never_what_others_can_write(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "pool")
    own, shared, other, link = (tmp_path / name for name in ("own", "shared", "other", "link"))
    own.write_bytes(b"own")
    inode = own.stat().st_ino
    assert store.path(store.put_file(own, move=True)).stat().st_ino == inode
    shared.write_bytes(b"shared")
    other.hardlink_to(shared)
    digest = store.put_file(shared, move=True)
    other.write_bytes(b"SHARED")
    assert store.verify(digest)
    link.symlink_to(other)
    assert store.path(store.put_file(link, move=True)).read_bytes() == b"SHARED"
    assert other.exists()
    assert not link.exists()


def test_a_memory_store_keeps_its_budget() -> None:
    store = MemoryStore(max_bytes=100)
    first = put(store, b"a" * 60)
    put(store, b"a" * 40 if store.has(digest_of(b"a" * 40)) else b"b" * 40)
    with pytest.raises(StorageError, match="full"):
        put(store, b"c")
    store.delete(first)
    assert put(store, b"d" * 60)
    store.close()


def test_equal_content_counts_once_in_memory() -> None:
    store = MemoryStore(max_bytes=100)
    for _ in range(5):
        put(store, b"a" * 50)
    store.close()


@pytest.mark.parametrize("damage", ["flip", "truncate", "grow"])
def test_a_corrupt_blob_is_found_and_set_aside(tmp_path: Path, damage: str) -> None:
    store = DiskStore(tmp_path)
    digest = put(store, b"good bytes")
    path = store.path(digest)
    path.chmod(0o644)
    path.write_bytes({"flip": b"good bytEs", "truncate": b"good", "grow": b"good bytes!"}[damage])
    assert not store.verify(digest)
    assert not store.has(digest)
    assert len(list((tmp_path / "corrupt").iterdir())) == 1
    assert put(store, b"good bytes") == digest
    assert store.verify(digest)


def test_only_so_many_corrupt_blobs_are_kept(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    for index in range(CORRUPT_KEPT_MAX + 3):
        path = store.path(put(store, b"%d" % index))
        path.chmod(0o644)
        path.write_bytes(b"bad")
        store.verify(digest_of(b"%d" % index))
    assert len(list((tmp_path / "corrupt").iterdir())) == CORRUPT_KEPT_MAX


def test_a_corrupt_blob_in_memory_is_found() -> None:
    store = MemoryStore()
    digest = put(store, b"good")
    store._blobs[digest].data = b"evil"
    assert not store.verify(digest)
    assert not store.has(digest)
    store.close()


def test_blobs_survive_reopening_and_are_read_only(tmp_path: Path) -> None:
    digest = put(DiskStore(tmp_path), b"kept")
    store = DiskStore(tmp_path)
    assert store.path(digest).read_bytes() == b"kept"
    assert store.path(digest).stat().st_mode & 0o222 == 0


def test_foreign_files_are_no_blobs(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    digest = put(store, b"kept")
    (store.path(digest).parent / "notes.txt").write_text("hello")
    assert list(store.digests()) == [digest]


_KILLED = """
import sys
from pathlib import Path
from gswarm.datapool.disk import DiskStore
ingest = DiskStore(Path(sys.argv[1])).ingest()
ingest.write(b"half of it" * 100_000)
print("ready", flush=True)
sys.stdin.read()
"""


def test_kill_9_in_the_middle_of_an_ingest_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert len(ingest_files(tmp_path)) == 1
        live = DiskStore(tmp_path)
        assert list(live.digests()) == []
        assert len(ingest_files(tmp_path)) == 1, "the ingest of a live process is left alone"
        process.send_signal(signal.SIGKILL)
    own = live.ingest()
    own.write(b"mine")
    store = DiskStore(tmp_path)
    assert list(store.digests()) == []
    assert len(ingest_files(tmp_path)) == 1, "only the dead process's bytes go"
    assert store.has(own.commit())


def test_closing_discards_open_ingests(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.ingest().write(b"open")
    store.close()
    assert ingest_files(tmp_path) == []


def test_a_full_disk(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        _full_by_limit(tmp_path)
        return
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], check=True)
    try:
        store = DiskStore(root)
        kept = put(store, os.urandom(400_000))
        with store.ingest() as ingest:
            with pytest.raises(StorageError, match="free some space"):
                ingest.write(os.urandom(2_000_000))
            with pytest.raises(InvariantError):
                ingest.commit()
        assert list(store.digests()) == [kept]
        assert ingest_files(root) == []
        assert put(store, os.urandom(400_000))
        store.close()
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        with pytest.raises(StorageError, match="read-only"):
            DiskStore(root)
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


_LIMITED = """
import resource, sys
from pathlib import Path
from gswarm.datapool.disk import DiskStore
from gswarm.domain.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = DiskStore(Path(sys.argv[1]))
try:
    with store.ingest() as ingest:
        ingest.write(bytes(200_000))
        ingest.commit()
except StorageError as error:
    print(error.hint, list(store.digests()))
"""


def _full_by_limit(root: Path) -> None:
    result = subprocess.run([sys.executable, "-c", _LIMITED, str(root)], capture_output=True, text=True, check=True)
    assert "size limit" in result.stdout
    assert "[]" in result.stdout
    assert ingest_files(root) == []


def test_a_reserve_is_left_free(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, reserve_bytes=1 << 60)
    with store.ingest() as ingest, pytest.raises(StorageError, match="write a blob") as refused:
        ingest.write(b"x")
    assert "free some space" in refused.value.hint
    assert list(store.digests()) == []


def test_a_file_size_limit(tmp_path: Path) -> None:
    _full_by_limit(tmp_path)


def test_a_root_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError) as caught:
        DiskStore(tmp_path / "file" / "pool")
    assert caught.value.hint


def test_many_small_blobs_need_few_descriptors(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    gc.collect()  # what other tests left open is not counted
    before = len(os.listdir("/proc/self/fd"))
    for index in range(600):
        put(store, b"%d" % index)
    assert len(os.listdir("/proc/self/fd")) <= before
    assert len(list(store.digests())) == 600
