"""Pipes, devices, sockets and links where a file is expected: refused at once, never waited for, never followed out of the folder."""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from gswarm.datapool.disk import DiskStore
from gswarm.datapool.layout import open_regular, within
from gswarm.datapool.manifest import ingest_folder, materialise
from gswarm.datapool.memory import MemoryStore
from gswarm.domain.errors import ConflictError, CorruptDataError, GswarmError, InvalidInputError, LimitError, NotFoundError
from gswarm.host.backup.restore import restore_backup
from gswarm.training import packages
from gswarm.training.base import resolve_base
from gswarm.training.base_files import check_base
from gswarm.training.headers import check_gguf, check_safetensors
from gswarm.training.sources import read_rows

pytestmark = pytest.mark.timeout(20)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(path.parent)  # a socket's address is short
        listening.bind(path.name)


def folder(path: Path) -> None:
    path.mkdir()


def endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


SPECIAL = [fifo, bound_socket, folder, endless_device, terminal]


@pytest.fixture(autouse=True)
def _stay_here() -> Iterator[None]:
    before = Path.cwd()
    yield
    os.chdir(before)


def disk_put(path: Path) -> None:
    store = DiskStore(path.parent / "store")
    try:
        store.put_file(path)
    finally:
        store.close()


def memory_put(path: Path) -> None:
    store = MemoryStore()
    try:
        store.put_file(path)
    finally:
        store.close()


def ingest(path: Path) -> None:
    store = MemoryStore()
    try:
        home = path.parent / "folder"
        home.mkdir()
        path.rename(home / path.name)
        ingest_folder(store, "test", home)
    finally:
        store.close()


def base_settings(path: Path) -> None:
    home = path.parent / "base"
    home.mkdir()
    path.rename(home / "config.json")
    check_base(home)


READERS: dict[str, Callable[[Path], object]] = {
    "x.bin": open_regular,
    "x.disk": disk_put,
    "x.memory": memory_put,
    "x.ingest": ingest,
    "x.base": base_settings,
    "x.safetensors": check_safetensors,
    "x.gguf": check_gguf,
    "x.backup": lambda path: restore_backup(path, path.parent / "data"),
    **{f"x{suffix}": (lambda path: read_rows(str(path), path.parent)) for suffix in (".json", ".jsonl", ".csv", ".parquet", ".arrow")},
}


@pytest.mark.parametrize("make", SPECIAL, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file_is_refused_at_once(make: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    if (make, name) == (folder, "x.ingest"):
        return  # a folder in a folder is what is ingested
    path = tmp_path / name
    make(path)
    with pytest.raises((GswarmError, OSError)):
        READERS[name](path)


def test_a_data_sets_folder_gives_only_its_own_files(tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_text(json.dumps({"text": "another's"}) + "\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "real.jsonl").write_text(json.dumps({"text": "own"}) + "\n")
    (data / "same.jsonl").symlink_to("real.jsonl")
    assert read_rows(str(data), tmp_path) == [{"text": "own"}] * 2
    (data / "z.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(InvalidInputError, match="leads out of"):
        read_rows(str(data), tmp_path)
    # What a person names outright may be a link.
    assert read_rows(str(data / "z.jsonl"), tmp_path) == [{"text": "another's"}]
    (data / "z.jsonl").unlink()
    os.mkfifo(data / "z.jsonl")
    with pytest.raises(InvalidInputError, match="no regular file"):
        read_rows(str(data), tmp_path)


def test_a_snapshot_in_a_hub_cache_leads_to_its_own_blobs_only(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "rev"
    snapshot.mkdir(parents=True)
    for repository in ("a--b", "c--d"):
        blobs = tmp_path / f"models--{repository}" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / "1").write_text("blob")
    (snapshot / "own").symlink_to("../../blobs/1")
    assert within(snapshot / "own", snapshot).read_text() == "blob"
    (snapshot / "other").symlink_to("../../../models--c--d/blobs/1")
    with pytest.raises(InvalidInputError, match="leads out of"):
        within(snapshot / "other", snapshot)


def test_a_models_folder_carries_nothing_away(tmp_path: Path) -> None:
    """What is copied from it goes into the pool, where everybody of the cluster can have it."""
    (tmp_path / "id_rsa").write_text("a key")
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / name).write_text("{}")
    (model / "vocab.txt").symlink_to(tmp_path / "id_rsa")
    with pytest.raises(InvalidInputError, match="leads out of"):
        resolve_base(str(model), tmp_path / "out", tmp_path / "work")


def test_a_file_with_a_second_name_is_copied_into_the_pool(tmp_path: Path) -> None:
    """Whoever holds the other name could write to the blob."""
    (tmp_path / "theirs").write_text("content")
    (tmp_path / "ours").hardlink_to(tmp_path / "theirs")
    store = DiskStore(tmp_path / "store")
    digest = store.put_file(tmp_path / "ours", move=True)
    (tmp_path / "theirs").write_text("changed")
    assert store.path(digest).read_text() == "content"
    store.close()


def test_a_pipe_in_the_place_of_unpacked_files_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty").touch()
    store = DiskStore(tmp_path / "store")
    digest, _ = ingest_folder(store, "test", tmp_path / "in")
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "empty")
    with pytest.raises(ConflictError):
        materialise(store, digest, tmp_path / "out")
    store.close()


def wheel(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_wheel_gives_only_what_is_asked_for(tmp_path: Path) -> None:
    made = wheel(tmp_path / "a.whl", {"pkg/data.yml": b"x", "pkg/__init__.py": b"raise SystemExit", "../../evil.py": b""})
    assert [path.relative_to(tmp_path).as_posix() for path in packages.unpack(made, tmp_path / "out", (".yml",))] == ["out/pkg/data.yml"]
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["data.yml"]


def test_a_link_in_a_wheel_is_a_file_with_its_text(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("link.yml")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    (path,) = packages.unpack(tmp_path / "a.whl", tmp_path / "out", (".yml",))
    assert not path.is_symlink()
    assert path.read_text() == "/etc/passwd"


def test_bombs_and_broken_wheels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "UNPACKED_BYTES_MAX", 1 << 20)
    bomb = wheel(tmp_path / "bomb.whl", {f"{number}.yml": bytes(300_000) for number in range(4)})
    assert bomb.stat().st_size < 10_000
    with pytest.raises(LimitError):
        packages.unpack(bomb, tmp_path / "bomb", (".yml",))
    # The archive says that the file is short; what counts is what comes out.
    liar = wheel(tmp_path / "liar.whl", {"a.yml": bytes(3 << 20)})
    liar.write_bytes(liar.read_bytes().replace((3 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises((LimitError, CorruptDataError)):
        packages.unpack(liar, tmp_path / "liar", (".yml",))
    whole = wheel(tmp_path / "whole.whl", {"a.yml": os.urandom(5000)})
    for size in (0, 10, 3000, whole.stat().st_size - 1):
        (tmp_path / "torn.whl").write_bytes(whole.read_bytes()[:size])
        with pytest.raises(CorruptDataError):
            packages.unpack(tmp_path / "torn.whl", tmp_path / f"torn-{size}", (".yml",))
    twice = tmp_path / "twice.whl"
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a.yml", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.yml", b"2")
    with pytest.raises(CorruptDataError):
        packages.unpack(twice, tmp_path / "twice", (".yml",))
    monkeypatch.setattr(packages, "MEMBERS_MAX", 3)
    with pytest.raises(LimitError):
        packages.unpack(bomb, tmp_path / "many", (".yml",))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_what_is_no_file_in_a_backup_is_refused(kind: bytes, tmp_path: Path) -> None:
    member = {"name": "host/x", "size_bytes": 0, "digest": blake3(b"").hexdigest()}
    text = json.dumps({"gswarm": "1", "cluster_id": "c", "taken_at_s": 0, "events": 0, "members": [member]}).encode()
    odd, listed = tarfile.TarInfo("host/x"), tarfile.TarInfo(f"gswarm-backup-{blake3(text).hexdigest()}.json")
    odd.type, odd.linkname, listed.size = kind, "/etc/passwd", len(text)
    with tarfile.open(tmp_path / "backup.tar", "w") as tar:
        tar.addfile(odd)
        tar.addfile(listed, io.BytesIO(text))
    with pytest.raises(CorruptDataError, match="not what its list says"):
        restore_backup(tmp_path / "backup.tar", tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_an_installed_packages_list_of_files_leads_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    info = site / "evil_data-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil-data\nVersion: 1.0\n")
    (tmp_path / "secret.yml").write_text("conversations: []")
    (info / "RECORD").write_text(f"../secret.yml,,\n{tmp_path}/secret.yml,,\n")
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises((NotFoundError, InvalidInputError)):
        packages.package_files("evil-data", (".yml",), tmp_path)
