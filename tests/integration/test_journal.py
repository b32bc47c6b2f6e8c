"""What every journal must keep: order, durability, and the truth about damage."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
from host_support import every_event, fingerprint, plan_host, registered, submitted

from gswarm.domain.errors import ConflictError, CorruptDataError, IncompatibleVersionError, StorageError
from gswarm.domain.ids import ClientName
from gswarm.host.journal.codec import EVENT_TYPES
from gswarm.host.journal.protocol import Entry
from gswarm.host.journal.snapshot import encode_state, open_state
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.host.locks import DirectoryLock
from gswarm.scheduler.events import ClientLost


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Below a folder whose name would be something else in a URI."""
    folder = tmp_path / "a?b #c%41"
    folder.mkdir()
    return folder / "journal.db"


def entries(count: int, first: int = 0) -> list[Entry]:
    return [Entry(1_000.0 + number, ClientLost(ClientName(f"c{first + number}"), "gone")) for number in range(count)]


def reasons(journal: SqliteJournal, after_seq: int = 0) -> list[str]:
    return [entry.event.client for entry in journal.read(after_seq) if isinstance(entry.event, ClientLost)]


def test_entries_come_back_in_order_with_their_time(path: Path) -> None:
    journal = SqliteJournal(path)
    assert journal.append(entries(2)) == 2
    assert journal.append([Entry(5.25, submitted())]) == 3
    journal.close()
    again = SqliteJournal(path)
    assert again.last_seq == 3
    assert [(entry.seq, entry.now_s) for entry in again.read()] == [(1, 1_000.0), (2, 1_001.0), (3, 5.25)]
    assert [entry.event for entry in again.read(2)] == [submitted()]


def test_reading_goes_over_many_pages_and_sees_a_fixed_end(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append(entries(1_750))
    reader = journal.read(3)
    first = next(reader)
    journal.append(entries(10, first=1_750))
    assert first.seq == 4
    assert [entry.seq for entry in reader] == list(range(5, 1_751))
    assert list(journal.read(1_760)) == []


def test_a_second_thread_reads_while_one_appends(path: Path) -> None:
    journal = SqliteJournal(path)
    failures: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(50):
                seqs = [entry.seq for entry in journal.read()]
                assert seqs == list(range(1, len(seqs) + 1))
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(50):
        journal.append(entries(3))
    thread.join()
    assert failures == []


def test_a_batch_is_all_or_nothing(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append(entries(1))
    with sqlite3.connect(path) as other:
        other.execute("CREATE TRIGGER stop BEFORE INSERT ON entries WHEN NEW.seq = 4 BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END")
    with pytest.raises(StorageError):
        journal.append(entries(5))
    assert journal.last_seq == 1
    assert len(list(journal.read())) == 1


@pytest.mark.parametrize("column", ["event", "now_s", "checksum"])
def test_a_changed_entry_is_found_and_named(path: Path, column: str) -> None:
    journal = SqliteJournal(path)
    journal.append(entries(3))
    journal.close()
    changed = {"event": "replace(event, 'c1', 'c7')", "now_s": "now_s + 1e-6", "checksum": "zeroblob(16)"}[column]
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE entries SET {column} = {changed} WHERE seq = 2")
    journal = SqliteJournal(path)
    with pytest.raises(CorruptDataError, match="entry 2 "):
        list(journal.read())
    with pytest.raises(CorruptDataError):
        open_state(journal)


def test_a_flipped_bit_in_the_file_is_found(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append(entries(20))
    journal.close()
    data = bytearray(path.read_bytes())
    place = data.index(b'"client":"c13"') + len(b'"client":"c1')
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptDataError, match="entry 14 "):
        list(SqliteJournal(path).read())


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_a_missing_entry_is_found(path: Path, gone: int) -> None:
    journal = SqliteJournal(path)
    journal.append(entries(4))
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM entries WHERE seq = ?", (gone,))
    with pytest.raises(CorruptDataError, match=rf"entry {gone} .* missing"):
        list(journal.read())


def test_a_torn_last_write_loses_only_what_was_not_acknowledged(path: Path, tmp_path: Path) -> None:
    journal = SqliteJournal(path)
    sizes = []
    for number in range(10):
        journal.append(entries(1, first=number))
        sizes.append(path.with_name("journal.db-wal").stat().st_size)
    for cut in range(sizes[4] + 1, sizes[6], 701):
        torn = tmp_path / f"torn-{cut}"
        torn.mkdir()
        shutil.copy(path, torn / "journal.db")
        (torn / "journal.db-wal").write_bytes(path.with_name("journal.db-wal").read_bytes()[:cut])
        whole = 5 if cut < sizes[5] else 6
        again = SqliteJournal(torn / "journal.db")
        assert reasons(again) == [f"c{number}" for number in range(whole)]
        assert again.append(entries(1, first=99)) == whole + 1
        again.close()


def test_a_full_disk_is_a_storage_error_and_nothing_is_kept_of_the_batch(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append(entries(1))
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageError, match="full"):
        journal.append(entries(2_000))
    assert journal.last_seq == 1
    assert journal.append(entries(1)) == 2


def test_a_read_only_or_locked_file_is_a_storage_error(path: Path) -> None:
    journal = SqliteJournal(path)
    journal._db.execute("PRAGMA busy_timeout = 50")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"):
        journal.append(entries(1))
    holder.execute("ROLLBACK")
    journal._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StorageError, match="readonly"):
        journal.append(entries(1))


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StorageError):
        SqliteJournal(tmp_path / "file" / "journal.db")
    (tmp_path / "journal.db").write_bytes(b"this is no database at all, it only has the name of one" * 30)
    with pytest.raises(CorruptDataError, match="not a database"):
        SqliteJournal(tmp_path / "journal.db")


def test_a_journal_of_another_cluster_or_a_newer_format_is_refused(path: Path) -> None:
    first = SqliteJournal(path, "cluster-1", {"undo_window_s": "60"})
    first.close()
    assert SqliteJournal(path, "cluster-1", {"undo_window_s": "99"}).constants == {"undo_window_s": "60"}
    with pytest.raises(ConflictError, match="belongs to cluster cluster-1"):
        SqliteJournal(path, "cluster-2")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '3' WHERE key = 'format'")
    with pytest.raises(IncompatibleVersionError):
        SqliteJournal(path)


def test_flushes_are_full(path: Path) -> None:
    journal = SqliteJournal(path)
    assert journal._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert journal._db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_two_hosts_cannot_hold_one_directory(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path), pytest.raises(ConflictError, match=r"in use by pid \d+"):
        DirectoryLock(tmp_path)
    DirectoryLock(tmp_path).release()


# ---- snapshots -------------------------------------------------------------------------------------------------------


def test_the_two_newest_snapshots_are_kept(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append(entries(5))
    for seq in (1, 3, 5):
        journal.save_snapshot(seq, b"state %d" % seq)
    assert journal.newest_snapshot() == (5, b"state 5")
    assert journal.newest_snapshot(before_seq=5) == (3, b"state 3")
    assert journal.newest_snapshot(before_seq=3) is None


def test_a_damaged_snapshot_gives_way_to_the_one_before(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append(entries(5))
    journal.save_snapshot(3, b"state 3")
    journal.save_snapshot(5, b"state 5")
    newest = max((path.parent / "snapshots").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1] + b"6")
    assert journal.newest_snapshot() == (3, b"state 3")
    newest.write_bytes(b"")
    assert journal.newest_snapshot() == (3, b"state 3")


def test_a_snapshot_ahead_of_the_journal_is_not_used(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append(entries(2))
    journal.save_snapshot(7, b"of a journal that was restored from a backup")
    assert journal.newest_snapshot() is None
    journal.close()
    journal = SqliteJournal(path)
    journal.append(entries(5))
    assert (journal.last_seq, journal.newest_snapshot()) == (7, None), "entry 7 is another one now"


# ---- the state from the journal ----------------------------------------------------------------------------------------


async def test_replay_is_the_state_with_and_without_snapshots(tmp_path: Path) -> None:
    async with plan_host(tmp_path, snapshot_every_events=7) as host:
        await every_event(host)
        types = {type(entry.event).__name__ for entry in host.journal.read()}
        live = fingerprint(host.state)
        seq = host.loop.seq
    assert types == set(EVENT_TYPES)
    assert list((tmp_path / "snapshots").iterdir())
    with_snapshot, seq_with = open_state(SqliteJournal(tmp_path / "journal.db"))
    shutil.rmtree(tmp_path / "snapshots")
    without, seq_without = open_state(SqliteJournal(tmp_path / "journal.db"))
    assert fingerprint(with_snapshot) == fingerprint(without) == live
    assert seq_with == seq_without == seq


async def test_every_prefix_continues_from_a_snapshot_as_without_one(tmp_path: Path) -> None:
    async with plan_host(tmp_path / "full") as host:
        await every_event(host)
        history = list(host.journal.read())
        live = fingerprint(host.state)
    for cut in range(0, len(history), 3):
        journal = SqliteJournal(tmp_path / f"cut-{cut}" / "journal.db", constants={"undo_window_s": "60.0"})
        if cut:
            journal.append([Entry(entry.now_s, entry.event) for entry in history[:cut]])
            journal.save_snapshot(cut, encode_state(open_state(journal)[0]))
        journal.append([Entry(entry.now_s, entry.event) for entry in history[cut:]])
        assert fingerprint(open_state(journal)[0]) == live
        journal.close()


async def test_a_snapshot_of_another_version_is_passed_over(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        await every_event(host)
        live = fingerprint(host.state)
        host.journal.save_snapshot(host.loop.seq, encode_state(host.state).replace(b'{"v":1,', b'{"v":99,', 1))
    assert fingerprint(open_state(SqliteJournal(tmp_path / "journal.db"))[0]) == live


def test_an_entry_that_the_core_refuses_ends_the_start(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append([Entry(1.0, registered("a")), Entry(2.0, ClientLost(ClientName("nobody"), "gone"))])
    with pytest.raises(CorruptDataError, match=r"entry 2 .*cannot be applied"):
        open_state(journal)
