"""The file of a backup: complete and private or not there, and nothing of it counts unless all of it is as it was written."""

from __future__ import annotations

import io
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from blake3 import blake3
from faults_rig import flip_bit
from host_support import every_event, fingerprint, plan_host, registered

from gswarm.datapool.disk import DiskStore
from gswarm.datapool.manifest import ingest_folder
from gswarm.domain.epochs import epoch_of, first_number
from gswarm.domain.errors import ConflictError, CorruptDataError, IncompatibleVersionError, NotFoundError, StorageError
from gswarm.domain.plan import ClientState
from gswarm.host.backup import take
from gswarm.host.backup.archive import Contents
from gswarm.host.backup.restore import restore_backup
from gswarm.host.backup.take import take_backup
from gswarm.host.journal.snapshot import open_state
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.host.locks import DirectoryLock
from gswarm.scheduler.core import ClusterState
from gswarm.wire.tls import CertificateAuthority

NOW_S = 1_800_000_000.0


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    """A host's data directory with a plan, its identity, tokens in a write-ahead log, run logs and a blob."""
    folder = tmp_path / "data ?#%41"
    authority = CertificateAuthority.create("c1")
    authority.save(folder / "host" / "tls")
    with closing(SqliteJournal(folder / "host" / "journal.db", "c1", {"undo_window_s": "60.0"})):
        pass
    async with plan_host(folder / "host", snapshot_every_events=20) as host:
        await every_event(host)
        await host.submit(registered("a", "i7"), registered("b", "i8"))
    with closing(sqlite3.connect(folder / "host" / "auth.db")) as tokens:
        tokens.execute("PRAGMA journal_mode=WAL")
        tokens.execute("CREATE TABLE tokens (id TEXT)")
        tokens.execute("INSERT INTO tokens VALUES ('t1')")
        tokens.commit()
    (folder / "logs").mkdir()
    (folder / "logs" / "r1.jsonl").write_text('[1,2.0,"info","hello"]\n')
    (folder / "host" / "endpoint.json").write_text("{}")
    (folder / "host" / "lock").write_text("")
    return folder


def plan_of(data_dir: Path) -> tuple[ClusterState, int]:
    with closing(SqliteJournal(data_dir / "host" / "journal.db")) as journal:
        return open_state(journal)


def rewritten(path: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]) -> None:
    """The archive with each member as ``change`` makes it; ``None`` leaves it out."""
    with tarfile.open(path) as tar:
        members = [(info, stream.read() if (stream := tar.extractfile(info)) else b"") for info in tar.getmembers()]
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            changed = change(info, data)
            if changed is not None:
                changed[0].size = len(changed[1])
                tar.addfile(changed[0], io.BytesIO(changed[1]))


def refused(path: Path, tmp_path: Path, kind: type[Exception] | tuple[type[Exception], ...] = CorruptDataError) -> str:
    """Restores into an empty folder, which must be as empty afterwards; what was said."""
    target = tmp_path / "target"
    with pytest.raises(kind) as refusal:
        restore_backup(path, target)
    assert not target.exists() or not list(target.iterdir())
    return str(refusal.value)


# ---- good ones -----------------------------------------------------------------------------------------------------------------


def test_what_was_taken_comes_back_and_begins_a_new_epoch(data_dir: Path, tmp_path: Path) -> None:
    before, events = plan_of(data_dir)
    path = tmp_path / "b.backup"
    taken = take_backup(data_dir, path)
    assert (taken.contents.events, taken.contents.cluster_id) == (events, "c1")
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".b.backup")]
    restored = restore_backup(path, tmp_path / "new", lambda: NOW_S)
    after, seq = plan_of(tmp_path / "new")
    assert (seq, restored.epoch, after.epoch) == (events + 1, int(NOW_S), int(NOW_S))
    assert {client.state for client in after.clients.values()} == {ClientState.LOST}
    assert not any(run.grants for run in after.runs.values())
    assert {run.id: run.position for run in after.runs.values()} == {run.id: run.position for run in before.runs.values()}
    assert after.counters["jobs"] == first_number(int(NOW_S))
    with closing(sqlite3.connect(tmp_path / "new" / "host" / "auth.db")) as tokens:
        assert tokens.execute("SELECT id FROM tokens").fetchall() == [("t1",)]
    assert (tmp_path / "new" / "logs" / "r1.jsonl").read_text() == (data_dir / "logs" / "r1.jsonl").read_text()
    assert not (tmp_path / "new" / "host" / "endpoint.json").exists()
    key = tmp_path / "new" / "host" / "tls" / "ca-key.pem"
    assert key.stat().st_mode & 0o777 == 0o600


def test_the_epoch_grows_with_each_restore_whatever_the_clock_says(data_dir: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1.backup", tmp_path / "2.backup"
    take_backup(data_dir, first)
    restore_backup(first, tmp_path / "one", lambda: NOW_S)
    take_backup(tmp_path / "one", second)
    assert restore_backup(second, tmp_path / "two", lambda: NOW_S - 3600).epoch == int(NOW_S) + 1


def test_blobs_travel_and_damaged_ones_are_counted(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DiskStore(data_dir / "pool")
    roots = []
    for name in ("good", "bad"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "weights.bin").write_bytes(name.encode() * 1000)
        roots.append(ingest_folder(store, "checkpoint", folder)[0])
    store.close()
    monkeypatch.setattr(ClusterState, "live_roots", lambda _state: tuple(roots))
    damaged = blake3(b"bad" * 1000).hexdigest()
    flip_bit(data_dir / "pool" / "blobs" / damaged[:2] / damaged, 9)
    taken = take_backup(data_dir, tmp_path / "b.backup")
    assert (taken.blobs, taken.contents.missing_blobs) == (3, 1)
    restore_backup(tmp_path / "b.backup", tmp_path / "new")
    again = DiskStore(tmp_path / "new" / "pool")
    assert sorted(again.digests()) == sorted([*roots, blake3(b"good" * 1000).hexdigest()])
    assert all(again.verify(digest) for digest in again.digests())
    again.close()
    assert take_backup(data_dir, tmp_path / "small.backup", with_blobs=False).blobs == 0


# ---- bad ones ------------------------------------------------------------------------------------------------------------------


def test_a_file_that_was_cut_off_or_changed_anywhere_is_refused(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.backup"
    take_backup(data_dir, path)
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        places = [info.offset_data * 8 + 3 for info in tar.getmembers() if info.size] + [info.offset * 8 + 5 for info in tar.getmembers()]
    for bit in places:
        flip_bit(path, bit)
        assert refused(path, tmp_path)
        flip_bit(path, bit)
    for length in (0, 100, 512, len(whole) // 2, len(whole) - 11_000):
        path.write_bytes(whole[:length])
        assert "it is no backup" in refused(path, tmp_path)
    path.write_bytes(whole)
    assert restore_backup(path, tmp_path / "target").runs == 5


@pytest.mark.parametrize(
    "name", ["../escape", "/etc/passwd", "host/../../x", "host/a/../../../x", "elsewhere/x", "host/.hidden", "host/a b"]
)
def test_names_that_lead_elsewhere_are_refused_even_when_they_are_listed(data_dir: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "b.backup"
    take_backup(data_dir, path)

    def change(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if info.name == "logs/r1.jsonl":
            info.name = name
        elif info.name.startswith("gswarm-backup-"):
            data = data.replace(b'"logs/r1.jsonl"', f'"{name}"'.encode())
            info.name = f"gswarm-backup-{blake3(data).hexdigest()}.json"
        return info, data

    rewritten(path, change)
    refused(path, tmp_path)
    assert not (tmp_path / "escape").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_what_is_no_regular_file_is_refused(data_dir: Path, tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "b.backup"
    take_backup(data_dir, path)

    def change(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if info.name == "logs/r1.jsonl":
            info.type, info.linkname = kind, "/etc/passwd"
            return info, b""
        return info, data

    rewritten(path, change)
    refused(path, tmp_path)


def test_files_too_few_too_many_or_twice_are_refused(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.backup"
    take_backup(data_dir, path)
    whole = path.read_bytes()
    rewritten(path, lambda info, data: None if info.name == "logs/r1.jsonl" else (info, data))
    assert "not those that its list names" in refused(path, tmp_path)
    path.write_bytes(whole)
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("logs/more"), io.BytesIO(b""))
    refused(path, tmp_path)


def test_a_newer_one_and_another_clusters_are_refused(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.backup"
    take_backup(data_dir, path)
    whole = path.read_bytes()

    def relisted(old: bytes, new: bytes) -> None:
        path.write_bytes(whole)

        def change(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
            if info.name.startswith("gswarm-backup-"):
                data = data.replace(old, new)
                info.name = f"gswarm-backup-{blake3(data).hexdigest()}.json"
            return info, data

        rewritten(path, change)

    relisted(b'"format":1', b'"format":2')
    assert "restore it with that version" in refused(path, tmp_path, IncompatibleVersionError)
    relisted(b'"cluster_id":"c1"', b'"cluster_id":"c2"')
    assert "do not belong together" in refused(path, tmp_path)
    relisted(b'"format":1', b'"format":"x"')
    refused(path, tmp_path)


def test_a_directory_that_is_not_empty_is_left_alone(data_dir: Path, tmp_path: Path) -> None:
    path, target = tmp_path / "b.backup", tmp_path / "target"
    take_backup(data_dir, path)
    target.mkdir()
    (target / "precious").write_text("mine")
    with pytest.raises(ConflictError, match="is not empty: it has precious"):
        restore_backup(path, target)
    assert [file.name for file in target.iterdir()] == ["precious"]
    (target / "precious").rename(target / "lost+found")
    assert restore_backup(path, target).runs == 5


def test_what_is_not_there_and_what_does_not_fit_is_said(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="holds no host's data"):
        take_backup(tmp_path, tmp_path / "b.backup")
    with pytest.raises(NotFoundError, match="there is no file"):
        restore_backup(tmp_path / "none", tmp_path / "target")
    with pytest.raises(StorageError, match="cannot write"):
        take_backup(data_dir, tmp_path / "no-folder" / "b.backup")
    monkeypatch.setattr(take, "_size", lambda path: 1 << 60)
    with pytest.raises(StorageError, match="--without-blobs"):
        take_backup(data_dir, tmp_path / "b.backup")
    assert not (tmp_path / "b.backup").exists()


def test_a_damaged_plan_makes_no_backup(data_dir: Path, tmp_path: Path) -> None:
    for snapshot in (data_dir / "host" / "snapshots").iterdir():
        flip_bit(snapshot, 999)
    with closing(sqlite3.connect(data_dir / "host" / "journal.db")) as db:
        db.execute("UPDATE entries SET now_s = now_s + 1 WHERE seq = 3")
        db.commit()
    with pytest.raises(CorruptDataError, match="entry 3 "):
        take_backup(data_dir, tmp_path / "b.backup")
    assert [file.name for file in tmp_path.iterdir() if "b.backup" in file.name] == []


async def test_a_killed_hosts_damaged_log_makes_no_backup(tmp_path: Path) -> None:
    live, killed = tmp_path / "live", tmp_path / "killed"
    CertificateAuthority.create("c1").save(live / "host" / "tls")
    with closing(SqliteJournal(live / "host" / "journal.db", "c1", {"undo_window_s": "60.0"})):
        pass
    async with plan_host(live / "host", snapshot_every_events=10_000) as host:
        await every_event(host)
        newest = host.loop.seq
        shutil.copytree(live, killed)
    log = killed / "host" / "journal.db-wal"
    whole = log.read_bytes()
    for _ in range(2):
        log.write_bytes(whole)
        flip_bit(log, len(whole) // 3 * 8)
        with pytest.raises(CorruptDataError, match="what follows was acknowledged"):
            take_backup(killed, tmp_path / "b.backup")
    assert not (tmp_path / "b.backup").exists()
    log.write_bytes(whole)
    assert take_backup(killed, tmp_path / "b.backup").contents.events == newest
    assert log.read_bytes() == whole, "a backup leaves the host's files as they are"
    log.unlink()
    shutil.copytree(live / "host" / "snapshots", killed / "host" / "snapshots", dirs_exist_ok=True)
    with pytest.raises(CorruptDataError, match="before a snapshot that was made of it"):
        take_backup(killed, tmp_path / "b2.backup")


async def test_a_backup_is_whole_while_the_host_writes_on(tmp_path: Path) -> None:
    import asyncio

    folder = tmp_path / "data"
    CertificateAuthority.create("c1").save(folder / "host" / "tls")
    with closing(SqliteJournal(folder / "host" / "journal.db", "c1", {"undo_window_s": "60.0"}, entries_kept=10)):
        pass
    with DirectoryLock(folder / "host"):
        async with plan_host(folder / "host", snapshot_every_events=5) as host:
            taking = [asyncio.create_task(asyncio.to_thread(take_backup, folder, tmp_path / f"{number}.backup")) for number in range(3)]
            number = 0
            while not all(task.done() for task in taking):
                await host.submit(registered("a", f"i{number}"))
                number += 1
            events = [task.result().contents.events for task in taking]
            live = host.loop.seq
    assert all(0 <= seq <= live for seq in events)
    for number, seq in enumerate(events):
        restored = restore_backup(tmp_path / f"{number}.backup", tmp_path / f"new{number}")
        assert restored.events == seq + 1
        assert fingerprint(plan_of(tmp_path / f"new{number}")[0])


def test_generations_and_jobs_share_the_scheme() -> None:
    assert epoch_of(first_number(int(NOW_S)) + 5) == int(NOW_S)
    assert first_number(2**31) < 2**53
    assert Contents.model_fields["format"].default == 1
