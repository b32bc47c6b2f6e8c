"""Folders into manifests and back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gswarm.datapool.disk import DiskStore
from gswarm.datapool.manifest import (
    Entry,
    Manifest,
    ingest_folder,
    load_manifest,
    materialise,
    missing,
    reachable,
    save_manifest,
    total_bytes,
)
from gswarm.datapool.tree import DEPTH_MAX, ENTRIES_MAX, META_MAX, NAME_BYTES_MAX
from gswarm.domain.errors import ConflictError, CorruptDataError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import Digest

ZERO = Digest("0" * 64)


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "pool")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "weights.safetensors").write_bytes(b"w" * 1000)
    (folder / "deep" / "er" / "state.json").write_text("{}")
    (folder / "deep" / "again.json").write_text("{}")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("move", [True, False])
def test_there_and_back(store: DiskStore, folder: Path, tmp_path: Path, link: bool, move: bool) -> None:
    before = content(folder)
    digest, manifest = ingest_folder(store, "checkpoint", folder, (("step", "40"),), move=move)
    assert content(folder) == ({} if move else before)
    assert load_manifest(store, digest) == manifest
    assert manifest.total_bytes == total_bytes(store, digest) == 1004
    assert [entry.name for entry in manifest.entries] == ["deep/again.json", "deep/er/state.json", "weights.safetensors"]
    assert len(reachable(store, digest)) == 3, "equal files are one blob"
    target = tmp_path / "out" / "checkpoint"
    assert materialise(store, digest, target, link=link) == manifest
    assert content(target) == before
    entry = manifest.entry("weights.safetensors")
    assert (target / entry.name).samefile(store.path(entry.digest)) == link
    assert materialise(store, digest, target, link=link) == manifest, "idempotent"
    assert ingest_folder(store, "checkpoint", target, (("step", "40"),))[0] == digest
    assert [path.name for path in target.parent.iterdir()] == ["checkpoint"], "nothing is left behind"


def test_a_materialised_folder_outlives_its_blobs(store: DiskStore, folder: Path, tmp_path: Path) -> None:
    digest, _ = ingest_folder(store, "checkpoint", folder)
    materialise(store, digest, tmp_path / "out")
    for blob in list(store.digests()):
        store.delete(blob)
    assert content(tmp_path / "out") == content(folder)


def test_other_content_is_never_overwritten(store: DiskStore, folder: Path, tmp_path: Path) -> None:
    digest, _ = ingest_folder(store, "checkpoint", folder)
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(ConflictError):
        materialise(store, digest, target)
    assert content(target) == {"mine.txt": b"mine"}
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ConflictError):
        materialise(store, digest, file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "file", "out", "pool"]


def test_a_changed_copy_is_noticed(store: DiskStore, folder: Path, tmp_path: Path) -> None:
    digest, _ = ingest_folder(store, "checkpoint", folder)
    materialise(store, digest, tmp_path / "out", link=False)
    (tmp_path / "out" / "deep" / "again.json").write_text("[]")
    with pytest.raises(ConflictError):
        materialise(store, digest, tmp_path / "out", link=False)


def test_what_is_missing_is_named(store: DiskStore, folder: Path, tmp_path: Path) -> None:
    digest, manifest = ingest_folder(store, "checkpoint", folder)
    assert missing(store, digest) == []
    assert missing(store, ZERO) == [ZERO]
    lost = manifest.entry("weights.safetensors").digest
    store.delete(lost)
    assert missing(store, digest) == [lost]
    with pytest.raises(NotFoundError):
        materialise(store, digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(NotFoundError):
        manifest.entry("nothing")


def test_links_to_files_count_as_files_and_other_things_are_refused(store: DiskStore, folder: Path, tmp_path: Path) -> None:
    (folder / "target").write_text("linked")
    (folder / "link").symlink_to("target")
    _, manifest = ingest_folder(store, "checkpoint", folder)
    assert store.path(manifest.entry("link").digest).read_text() == "linked"
    before = set(store.digests())
    (folder / "loop").symlink_to(folder)
    with pytest.raises(InvalidInputError, match="link to a folder"):
        ingest_folder(store, "checkpoint", folder, move=True)
    (folder / "loop").unlink()
    (tmp_path / "elsewhere").write_text("another's")
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInputError, match="leads out of"):
        ingest_folder(store, "checkpoint", folder, move=True)
    (folder / "out").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidInputError, match="no regular file"):
        ingest_folder(store, "checkpoint", folder, move=True)
    (folder / "pipe").unlink()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_text("latin-1")
    with pytest.raises(InvalidInputError, match="UTF-8"):
        ingest_folder(store, "checkpoint", folder, move=True)
    assert set(store.digests()) == before, "all is checked before anything is stored"
    with pytest.raises(NotFoundError):
        ingest_folder(store, "checkpoint", tmp_path / "nothing")


def test_limits() -> None:
    entry = Entry("a", ZERO, 1)
    with pytest.raises(LimitError):
        Manifest("test", (entry,) * (ENTRIES_MAX + 1))
    with pytest.raises(LimitError):
        Manifest("test", (), tuple((f"k{n}", "") for n in range(META_MAX + 1)))
    Entry("/".join("x" * 63 for _ in range(16)), ZERO, 1)
    for name in ("x/" * DEPTH_MAX + "x", "/".join("x" * 64 for _ in range(16)), "y" * (NAME_BYTES_MAX + 1)):
        with pytest.raises(InvalidInputError):
            Entry(name, ZERO, 1)


def test_bytes_that_are_no_manifest(store: DiskStore) -> None:
    with store.ingest() as ingest:
        ingest.write(b"[" * 100_000)
        digest = ingest.commit()
    with pytest.raises(CorruptDataError):
        load_manifest(store, digest)
    with pytest.raises(CorruptDataError):
        Manifest.from_bytes(b'{"gswarm_manifest":1,"kind":' + b"[" * 100_000)


def test_a_damaged_manifest_is_noticed(store: DiskStore) -> None:
    digest = save_manifest(store, Manifest("test", (Entry("a", ZERO, 1),)))
    path = store.path(digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"b"'))
    with pytest.raises(CorruptDataError):
        load_manifest(store, digest)
