"""Every place where a name from outside becomes a path: whatever the name, nothing outside the place's own folder is written or read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import httpx
import pytest
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gswarm.cli import run_jobs
from gswarm.datapool.disk import DiskStore
from gswarm.datapool.manifest import Entry, Manifest, ingest_folder, materialise, save_manifest
from gswarm.datapool.tree import check_name, check_names, path_below
from gswarm.domain.errors import GswarmError, InvalidInputError, NotFoundError
from gswarm.domain.ids import Digest, RunId
from gswarm.domain.messages import LogLine
from gswarm.host.backup.restore import restore_backup
from gswarm.profiler.run_logs import RunLogStore
from gswarm.sdk import Host
from gswarm.training import packages
from gswarm.training.base import resolve_base
from gswarm.training.base_files import INDEX_FILE, check_base
from gswarm.training.sources import read_rows
from gswarm.wire.certificates import check_client_name

OUTSIDE = "outside"
CONTENT = b"from outside"
EVIL = [
    *("..", ".", "", "...", "....", "~", "~root", "..;", "../", "..\\", "\\", "\\\\host\\share", "C:", "C:\\x", "c:/x", "file:", "a:b"),
    *(
        "%2e%2e",
        "%2e%2e%2f",
        "%252e%252e%252f",
        "..%2f",
        "..%5c",
        "%00",
        "..%c0%af",
        "\0",
        "a\0b",
        "a\0",
        "\n",
        "\r",
        "\x1b[2J",
        "\x7f",
        "\x85",
    ),
    *("CON", "con.txt", "NUL", "nul.safetensors", "AUX", "PRN", "COM1", "com9.x", "LPT1", "COM¹", "CONIN$", "a.", "a ", ". ", " .."),
    *(
        "\uff0e\uff0e",
        "\uff0e\uff0e\uff0f",
        "\u2024\u2024",
        "\u2025",
        "a\uff0fb",
        "a\u2215b",
        "a\u2044b",
        "\uff3c",
        "\ufe68",
        "\uff1a",
        "\u202e",
        "\ufeff",
    ),
    *("\u200b", "é", "e\u0301", "ﬁ", "ß", "ss", "İ", "\u0131", "\udcff", "\ud800", "x" * 255, "x" * 256, "x" * 4096, "ü" * 200, "😀" * 64),
    *(
        "{world}",
        "{world}/outside",
        "/{world}/outside",
        "/",
        "//",
        "/etc",
        "/dev",
        "/proc/self/cwd",
        "link",
        "link/outside",
        "file",
        "outside",
        "a",
    ),
]
"""``{world}`` stands for the absolute path of the folder around."""
NAMES = st.one_of(
    st.lists(st.sampled_from(EVIL), min_size=1, max_size=4).map("/".join),
    st.tuples(st.integers(1, 12), st.sampled_from(EVIL)).map(lambda drawn: "../" * drawn[0] + drawn[1]),
    st.sampled_from(EVIL).map(lambda name: "/".join([name] * 40)),
    st.text(max_size=40),
)


@dataclass(frozen=True)
class World:
    """A folder to work in, and around it what must stay as it is."""

    root: Path

    @property
    def inside(self) -> Path:
        return self.root / "a" / "b" / "inside"

    def make(self) -> None:
        self.inside.mkdir(parents=True)
        for folder in (self.root, self.root / "a", self.inside.parent):
            (folder / "outside").write_text(OUTSIDE)
        (self.inside / "link").symlink_to(self.root)
        (self.inside / "file").symlink_to(self.root / "outside")

    def around(self) -> dict[str, str]:
        """Everything outside the folder: files with content, links with targets."""
        found = {}
        for parent, folders, files in os.walk(self.root):
            if Path(parent) == self.inside:
                folders.clear()
                continue
            for name in (*folders, *files):
                path = Path(parent, name)
                found[str(path)] = path.read_text() if path.is_file() else "folder"
        return found


def manifest_file(name: str, world: World) -> None:
    store = DiskStore(world.inside / "store")
    try:
        with store.ingest() as ingest:
            ingest.write(CONTENT)
            blob = ingest.commit()
        digest = save_manifest(store, Manifest("test", (Entry(name, blob, len(CONTENT)),)))
        materialise(store, digest, world.inside / "out")
        assert [path.relative_to(world.inside / "out").as_posix() for path in files_below(world.inside / "out")] == [name]
    finally:
        store.close()


def downloaded_file(name: str, world: World) -> None:
    """A host that answers what it likes to ``run export --to``."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/files"):
            body = {"files": [{"name": name, "digest": blake3(CONTENT).hexdigest(), "size_bytes": len(CONTENT)}]}
            return httpx.Response(200, content=json.dumps(body).encode(), headers={"content-type": "application/json"})
        return httpx.Response(200, content=CONTENT)

    with Host("http://127.0.0.1:1", "token", http=httpx.MockTransport(answer)) as host:
        (written,) = host.download("0" * 64, world.inside)
    assert written.read_bytes() == CONTENT


def export_folder(name: str, world: World) -> None:
    """The name of the folder of one of several runs comes from the host."""
    targets: list[Path] = []

    def export_one(_host: object, ref: str, *_rest: object) -> dict[str, object]:
        targets.append(_rest[-1])  # type: ignore[arg-type]
        return {"path": "", "run": ref, "format": "", "step": 0, "size_bytes": 0}

    with (
        mock.patch.object(run_jobs, "open_host", contextlib.nullcontext),
        mock.patch.object(run_jobs, "chosen", return_value=[name, "r2"]),
        mock.patch.object(run_jobs, "export_one", export_one),
        mock.patch.object(run_jobs, "print_json"),
    ):
        run_jobs.export([name, "r2"], to=world.inside, output=run_jobs.Format.JSON)
    for target in targets:
        target.mkdir(parents=True)


def run_log(name: str, world: World) -> None:
    logs = RunLogStore(world.inside / "logs")
    logs.append([LogLine(RunId(name), 0.0, "info", "x")])
    assert len(logs.read(RunId(name))) == 1
    logs.delete_run(RunId(name))


def run_log_read(name: str, world: World) -> None:
    assert RunLogStore(world.inside / "logs").read(RunId(name)) == []


def client_folder(name: str, world: World) -> None:
    (world.inside / "clients" / check_client_name(name)).mkdir(parents=True)


def blob_name(name: str, world: World) -> None:
    store = DiskStore(world.inside / "store")
    try:
        assert not store.has(Digest(name))
        store.delete(Digest(name))
        store.path(Digest(name))
    finally:
        store.close()


def wheel_member(name: str, world: World) -> None:
    wheel = world.inside / "some.whl"
    member = zipfile.ZipInfo("x.yml")
    member.filename = member.orig_filename = f"{name}.yml"
    with zipfile.ZipFile(wheel, "w") as archive, contextlib.suppress(UnicodeEncodeError, struct.error):  # what no archive can hold
        archive.writestr(member, CONTENT)
    for path in packages.unpack(wheel, world.inside / "unpacked", (".yml",)):
        assert path.read_bytes() == CONTENT


def backup_member(name: str, world: World) -> None:
    """A backup whose list names the file just so."""
    member = {"name": name, "size_bytes": len(CONTENT), "digest": blake3(CONTENT).hexdigest()}
    contents = {"gswarm": "1", "cluster_id": "c", "taken_at_s": 0, "events": 0, "members": [member]}
    text = json.dumps(contents).encode()
    with tarfile.open(world.inside / "backup.tar", "w", format=tarfile.PAX_FORMAT) as tar, contextlib.suppress(UnicodeError):
        for filename, data in ((name, CONTENT), (f"gswarm-backup-{blake3(text).hexdigest()}.json", text)):
            info = tarfile.TarInfo(filename)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    restore_backup(world.inside / "backup.tar", world.inside / "data")


def package_name(name: str, world: World) -> None:
    """What pip is asked for is a name: no path, no address, no option."""

    def downloaded(asked: str, _work_dir: Path) -> Path:
        assert not set(asked) & set("/\\:@ ")
        assert asked[0].isalnum()
        raise NotFoundError("not here")

    with mock.patch.object(packages, "_downloaded", downloaded):
        packages.package_files(name, (".no-such-file",), world.inside)


def index_entry(name: str, world: World) -> None:
    """The parts of a model's weights, as its index names them."""
    base = world.inside / "base"
    base.mkdir()
    (base / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": {"w": name}}))
    check_base(base)


def plain_path(name: str, world: World) -> None:
    path = path_below(world.inside, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)


SINKS: list[Callable[[str, World], None]] = [
    manifest_file,
    downloaded_file,
    export_folder,
    run_log,
    run_log_read,
    client_folder,
    blob_name,
    wheel_member,
    backup_member,
    package_name,
    index_entry,
    plain_path,
]


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("sink", SINKS, ids=lambda sink: sink.__name__)
@settings(max_examples=40, deadline=None)
@given(name=NAMES)
@example(name="../outside")
@example(name="link/outside")
@example(name="file")
@example(name="{world}/outside")
def test_no_name_leaves_its_folder(sink: Callable[[str, World], None], name: str) -> None:
    with TemporaryDirectory() as temporary:
        world = World(Path(temporary).resolve())
        world.make()
        before = world.around()
        with contextlib.suppress(GswarmError):
            sink(name.replace("{world}", str(world.root)), world)
        assert world.around() == before


# ---- trees that somebody left behind ---------------------------------------------------------------------------------------

WAITS_S = 30.0
ROW = json.dumps({"text": "own"}) + "\n"
SECRET = json.dumps({"text": "another's"}) + "\n"
BASE_NAMES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "vocab.txt", "x.jsonl", "y.csv")
ON_DISK = [name for name in EVIL if name not in ("", ".", "..") and not set(name) & {"/", "\0"} and not set(name) & {"\ud800"}]
"""Names that Linux takes; those that are too long are not made."""
OUTSIDE_TARGETS = ("../../outside", "{world}/outside", "../../../../outside.jsonl", "{world}/outside.jsonl", "{world}")
TARGETS = (*OUTSIDE_TARGETS, "/dev/zero", "/proc/self/fd/0", ".", "..", "nothing", "nothing.jsonl", "a", "a/a", "x")
PLANTED = st.tuples(
    st.sampled_from(("file", "file", "folder", "link", "hard link", "pipe", "device")),
    st.integers(0, 9),
    st.one_of(st.sampled_from(("a", "x", *BASE_NAMES)), st.sampled_from(ON_DISK)),
    st.one_of(st.integers(0, 9), st.sampled_from(TARGETS)),
)
"""Kind, number of the folder that it is in, name, and for links a number of a file made before, or a text."""


def plant(world: World, tree: Path, drawn: list[tuple[str, int, str, int | str]]) -> None:
    """What the machine refuses to make (twice the same name, too long, a device for want of rights) is left out."""
    folders, files = [tree], [world.root / "outside"]
    tree.mkdir()
    for kind, where, name, target in drawn:
        path = Path(f"{folders[where % len(folders)]}/{name}")
        before = files[target % len(files)] if isinstance(target, int) else Path(target.replace("{world}", str(world.root)))
        with contextlib.suppress(OSError):
            match kind:
                case "file":
                    with path.open("x") as file:
                        file.write(ROW)
                    files.append(path)
                case "folder":
                    path.mkdir()
                    folders.append(path)
                case "link":
                    path.symlink_to(before)
                case "hard link":
                    path.hardlink_to(before)
                case "pipe":
                    os.mkfifo(path)
                case "device":
                    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero


def content_of(tree: Path) -> dict[str, bytes]:
    """Every file below, links to files of the tree followed."""
    found = {}
    for parent, _, files in os.walk(tree):
        for name in files:
            path = Path(f"{parent}/{name}")
            real = path.resolve()
            assert real.is_relative_to(tree), f"{path} leads out"
            assert stat.S_ISREG(real.stat().st_mode), f"{path} is no file"
            found[f"{parent}/{name}".removeprefix(f"{tree}/")] = real.read_bytes()
    return found


def copied(tree: Path, world: World, *, move: bool) -> None:
    store = DiskStore(world.inside / "store")
    try:
        expected: dict[str, bytes] | str
        try:
            expected = content_of(tree)
        except (AssertionError, OSError, RuntimeError) as error:
            expected = str(error)
        digest, _ = ingest_folder(store, "test", tree, move=move)
        materialise(store, digest, world.inside / "copy")
        assert content_of(world.inside / "copy") == expected
    finally:
        store.close()


def tree_into_the_pool(tree: Path, world: World) -> None:
    copied(tree, world, move=False)


def tree_moved_into_the_pool(tree: Path, world: World) -> None:
    copied(tree, world, move=True)


def tree_in_the_place_of_unpacked_files(tree: Path, world: World) -> None:
    """It is taken for what is to be unpacked there only if that is what it is."""
    store = DiskStore(world.inside / "store")
    try:
        with store.ingest() as ingest:
            ingest.write(ROW.encode())
            blob = ingest.commit()
        digest = save_manifest(store, Manifest("test", (Entry("x", blob, len(ROW)),)))
        materialise(store, digest, tree)
        assert content_of(tree) == {"x": ROW.encode()}
    finally:
        store.close()


def secrets_of(world: World) -> tuple[Path, ...]:
    """Files that links lead to: each holds a secret and is nobody's but the machine's."""
    return world.root / "outside", world.root / "outside.jsonl", world.inside.parent / "outside"


def is_a_secrets_name(path: Path, world: World) -> bool:
    """Whether it is such a file under another name: the kernel knows no first one, and no link to ask."""
    return path.lstat().st_ino in {secret.stat().st_ino for secret in secrets_of(world)}


def tree_of_data(tree: Path, world: World) -> None:
    rows = read_rows(str(tree), world.inside)
    assert json.loads(SECRET) not in rows or any(is_a_secrets_name(path, world) for path in tree.iterdir())


def tree_of_a_model(tree: Path, world: World) -> None:
    with contextlib.suppress(GswarmError):
        resolve_base(str(tree), world.inside / "base", world.inside / "work")
    for name, content in content_of(world.inside / "base").items():
        assert content == (tree / name).read_bytes()
        assert content == ROW.encode() or is_a_secrets_name(tree / name, world)


TREE_SINKS: list[Callable[[Path, World], None]] = [
    tree_into_the_pool,
    tree_moved_into_the_pool,
    tree_in_the_place_of_unpacked_files,
    tree_of_data,
    tree_of_a_model,
]


def without_waiting(act: Callable[[], None]) -> None:
    """In a thread, because whoever opens a pipe waits for ever. A refusal is as good as an answer."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except GswarmError:
            return
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WAITS_S)
    assert not thread.is_alive(), "it waits"
    if raised:
        raise raised[0]


@pytest.mark.parametrize("sink", TREE_SINKS, ids=lambda sink: sink.__name__)
@settings(max_examples=60, deadline=None)
@given(drawn=st.lists(PLANTED, min_size=1, max_size=8))
@example(drawn=[("pipe", 0, "x.jsonl", 0)])
@example(drawn=[("link", 0, "x.jsonl", "../../outside"), ("file", 0, "x", 0)])
@example(drawn=[("link", 0, "x.jsonl", "{world}/outside.jsonl")])
@example(drawn=[("file", 0, "a", 0), ("hard link", 0, "config.json", "{world}/outside.jsonl")])
@example(drawn=[("link", 0, "x.jsonl", "nothing.jsonl")])
@example(drawn=[("link", 0, "x.jsonl", "x.jsonl")])
@example(drawn=[("hard link", 0, "x.jsonl", 0)])
@example(drawn=[("device", 0, "x.jsonl", 0)])
@example(drawn=[("file", 0, "x", 0)])
@example(drawn=[("file", 0, name, 0) for name in BASE_NAMES[:4]] + [("link", 0, "vocab.txt", "{world}/outside")])
def test_no_tree_leads_out_of_itself_and_none_is_waited_for(
    sink: Callable[[Path, World], None], drawn: list[tuple[str, int, str, int | str]]
) -> None:
    with TemporaryDirectory() as temporary:
        world = World(Path(temporary).resolve())
        world.make()
        for outside in secrets_of(world):
            outside.write_text(SECRET)
            outside.chmod(0o640)
        tree = world.inside / "tree"
        plant(world, tree, drawn)
        before = world.around()
        without_waiting(lambda: sink(tree, world))
        assert world.around() == before
        assert (world.root / "outside").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "..",
            "../x",
            "a/../x",
            "a/./x",
            "/x",
            "//x",
            "a//b",
            "a/",
            "..\\x",
            "a\\b",
            "C:",
            "C:x",
            "a:b",
            "a\0b",
            "a\nb",
            "\x1b[31m",
        ),
        *("CON", "con", "a/NUL.txt", "aux .x", "COM1", "lpt9.tar.gz", "COM¹", "CONOUT$", "a.", "a ", "...", "a/..."),
        *(
            "\uff0e\uff0e/x",
            "a\uff0fb",
            "\u2025/x",
            "a\uff1ab",
            "\uff3cx",
            "a\u202etxt",
            "\ufeffa",
            "a\u200bb",
            "\udcff",
            "x" * 256,
            "x/" * 600 + "x",
        ),
    ],
    ids=ascii,
)
def test_names_that_could_be_something_else_somewhere_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a/b.safetensors",
        ".hidden",
        "%2e%2e",
        "%252e",
        "console.log",
        "auxiliary",
        "é",
        "模型/权重.json",
        "नमस्ते",
        "👩\u200d🚀",
        "a b",
        "x" * 255,
    ],
)
def test_ordinary_names_are_taken(name: str) -> None:
    check_name(name)


def test_two_names_cannot_be_one_file() -> None:
    for names in (["a", "A"], ["é", "e\u0301"], ["a", "a/b"], ["ß", "SS"]):
        with pytest.raises(InvalidInputError):
            check_names(names)
