"""A plan on a disk that lies: bits flipped anywhere in journal and snapshots. It is the same plan or a clear refusal, never another."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from faults_rig import flip_bit
from host_support import every_event, fingerprint, plan_host

from gswarm.domain.errors import CorruptDataError, IncompatibleVersionError, InvalidInputError, NotFoundError, StorageError
from gswarm.domain.ids import ClientName
from gswarm.host.journal import snapshot
from gswarm.host.journal.protocol import Entry
from gswarm.host.journal.snapshot import encode_state, open_state
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.events import ClientDrainRequested, ClientRegistered, Event

FLIPS, WAL_FLIPS = 250, 120
KNOWN = (CorruptDataError, IncompatibleVersionError, StorageError, InvalidInputError)
A = ClientName("a")


@pytest.fixture
async def plan(tmp_path: Path) -> tuple[Path, str]:
    """A plan's folder after a crash, with two snapshots and a tail of entries behind them; and the plan's fingerprint."""
    folder = tmp_path / "plan"
    async with plan_host(folder, snapshot_every_events=12) as host:
        await every_event(host)
        live = fingerprint(host.state)
    newest = max((folder / "snapshots").iterdir())
    newest.unlink()
    assert list((folder / "snapshots").iterdir())
    return folder, live


def open_plan(folder: Path) -> str:
    with closing(SqliteJournal(folder / "journal.db")) as journal:
        return fingerprint(open_state(journal)[0])


def end_of(folder: Path) -> int | None:
    """The newest entry of a journal, or nothing where it is refused."""
    try:
        with closing(SqliteJournal(folder / "journal.db")) as journal:
            return journal.last_seq
    except KNOWN:
        return None


def test_a_bit_flipped_anywhere_in_the_journal_is_noticed_or_does_not_matter(plan: tuple[Path, str], tmp_path: Path) -> None:
    folder, live = plan
    seed = random.Random(3)
    bits = (folder / "journal.db").stat().st_size * 8
    refused = 0
    for number in range(FLIPS):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(folder, copy)
        flip_bit(copy / "journal.db", seed.randrange(bits))
        try:
            assert open_plan(copy) == live
        except KNOWN:
            refused += 1
        shutil.rmtree(copy)
    assert FLIPS / 20 < refused < FLIPS  # how many depends on how much of the file is in use


async def test_a_bit_flipped_in_the_write_ahead_log_loses_nothing_but_what_may_have_been_torn(tmp_path: Path) -> None:
    """SQLite alone would end the log there, and the plan with it."""
    folder, seed = tmp_path / "plan", random.Random(5)
    async with plan_host(folder, snapshot_every_events=12) as host:
        await every_event(host)
        newest = host.loop.seq
        shutil.copytree(folder, tmp_path / "killed")
    log = tmp_path / "killed" / "journal.db-wal"
    assert log.stat().st_size > 100_000, "a killed host leaves everything there"
    ends = []
    for number in range(WAL_FLIPS):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(tmp_path / "killed", copy)
        flip_bit(copy / "journal.db-wal", seed.randrange(log.stat().st_size * 8))
        ends.append(end_of(copy))
        assert end_of(copy) == ends[-1], "the first attempt to open it decided what the second one finds"
        shutil.rmtree(copy)
    assert {end for end in ends if end is not None} <= {newest, newest - 1}, "more than the last transaction was lost"
    assert ends.count(None) > WAL_FLIPS * 0.8


def test_what_an_earlier_log_left_behind_is_no_damage(tmp_path: Path) -> None:
    """A log begins anew over the old one: a host that is killed then leaves a new header, and old pages behind it."""
    with closing(begun(tmp_path)) as journal:
        fill(journal, 40)
        for number in range(40, 60):
            journal.append([Entry(float(number), ClientDrainRequested(A, True))])
        journal._db.execute("PRAGMA wal_checkpoint(FULL)")
        before = (tmp_path / "journal.db-wal").read_bytes()
        journal.append([Entry(60.0, ClientDrainRequested(A, True))])
        for name, log in (("whole", (tmp_path / "journal.db-wal").read_bytes()), ("begun", b"")):
            (tmp_path / name).mkdir()
            shutil.copy(tmp_path / "journal.db", tmp_path / name / "journal.db")
            header = (tmp_path / "journal.db-wal").read_bytes()[:32]
            assert header != before[:32]
            (tmp_path / name / "journal.db-wal").write_bytes(log or header + before[32:])
    for name, end in (("whole", 61), ("begun", 60)):
        with closing(begun(tmp_path / name)) as again:
            assert again.last_seq == end


def test_a_bit_flipped_in_the_newest_snapshot_costs_a_longer_replay_only(plan: tuple[Path, str]) -> None:
    folder, live = plan
    with closing(SqliteJournal(folder / "journal.db")) as journal:
        state, seq = open_state(journal)
        journal.save_snapshot(seq, encode_state(state))
    files = sorted((folder / "snapshots").iterdir())
    for bit in (0, 8 * 31, 8 * 32, 8 * 400 + 3, files[-1].stat().st_size * 8 - 1):
        flip_bit(files[-1], bit)
        assert open_plan(folder) == live
        flip_bit(files[-1], bit)


def begun(path: Path, entries_kept: int = 100) -> SqliteJournal:
    return SqliteJournal(path / "journal.db", entries_kept=entries_kept)


def fill(journal: SqliteJournal, count: int) -> ClusterState:
    """Entries of one client that is drained and taken back, and the state they lead to."""
    state, seq = open_state(journal)
    entries = []
    for number in range(seq, seq + count):
        event: Event = ClientDrainRequested(A, number % 2 == 0) if number else ClientRegistered(A, "i1", "0.1.0", "", ())
        state.step(event, float(number))
        entries.append(Entry(float(number), event))
    journal.append(entries)
    return state


def test_entries_behind_two_snapshots_and_the_bound_go_and_no_others(tmp_path: Path) -> None:
    with closing(begun(tmp_path)) as journal:
        state = fill(journal, 300)
        journal.save_snapshot(300, encode_state(state))
        assert journal.trimmed_seq == 0, "one snapshot may be damaged: the journal must reach back behind it"
        state = fill(journal, 90)
        journal.save_snapshot(390, encode_state(state))
        assert journal.trimmed_seq == 290, "followers may be 100 entries behind"
        assert [entry.seq for entry in journal.read(290)] == list(range(291, 391))
        with pytest.raises(NotFoundError, match="event 290 is not kept any more"):
            next(journal.read(289))
        state = fill(journal, 200)
        journal.save_snapshot(590, encode_state(state))
        assert journal.trimmed_seq == 390, "the older snapshot still leads to the newest entry"
        live = fingerprint(state)
    with closing(begun(tmp_path)) as again:
        assert (again.trimmed_seq, again.last_seq) == (390, 590)
        assert fingerprint(open_state(again)[0]) == live
    flip_bit(max((tmp_path / "snapshots").iterdir()), 999)
    with closing(begun(tmp_path)) as again:
        assert again.newest_snapshot() is not None
        assert fingerprint(open_state(again)[0]) == live
    flip_bit(min((tmp_path / "snapshots").iterdir()), 999)
    with closing(begun(tmp_path)) as again, pytest.raises(CorruptDataError, match=r"behind entry 390 only; restore the last backup"):
        open_state(again)


def test_a_journal_of_any_length_stays_small(tmp_path: Path) -> None:
    pages = []
    with closing(begun(tmp_path)) as journal:
        for _ in range(6):
            state = fill(journal, 400)
            journal.save_snapshot(journal.last_seq, encode_state(state))
            with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
                assert db.execute("SELECT COUNT(*) FROM entries").fetchone()[0] <= 800
                pages.append(db.execute("PRAGMA page_count").fetchone()[0])
    assert pages[-1] <= pages[2] * 1.1


def test_of_two_writers_the_one_that_comes_second_is_stopped(tmp_path: Path) -> None:
    """Should somebody remove the lock of a running host: what one has written the other cannot overwrite, nor go on beside it."""
    with closing(begun(tmp_path)) as first, closing(begun(tmp_path)) as second:
        fill(first, 5)
        with pytest.raises(StorageError, match="another host writes to it"):
            second.append([Entry(9.0, ClientDrainRequested(A, True))])
        assert [entry.seq for entry in first.read()] == [1, 2, 3, 4, 5]


# ---- another version ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version, which decides otherwise: it gives grants to nobody."""
    monkeypatch.setattr("gswarm.scheduler.core.policy.dispatch", lambda turn: None)
    monkeypatch.setattr(snapshot, "__version__", "9.9.0")


async def test_a_tail_that_another_version_decided_names_the_version_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    async with plan_host(tmp_path, snapshot_every_events=10_000) as host:
        await every_event(host)
    for file in (tmp_path / "snapshots").iterdir():
        file.unlink()
    request.getfixturevalue("other_policy")
    with closing(SqliteJournal(tmp_path / "journal.db")) as journal:
        with pytest.raises(IncompatibleVersionError) as refusal:
            open_state(journal)
        assert journal.writer_of(journal.last_seq) in str(refusal.value)
    assert "start gswarm 0." in refusal.value.hint
    assert "host stop" in refusal.value.hint


async def test_after_a_clean_stop_another_version_has_nothing_to_decide(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async with plan_host(tmp_path, snapshot_every_events=10_000) as host:
        await every_event(host)
        live = fingerprint(host.state)
    request.getfixturevalue("other_policy")
    assert open_plan(tmp_path) == live


async def test_the_same_version_in_another_build_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with plan_host(tmp_path, snapshot_every_events=10_000) as host:
        await every_event(host)
    shutil.rmtree(tmp_path / "snapshots")
    monkeypatch.setattr("gswarm.scheduler.core.policy.dispatch", lambda turn: None)
    with pytest.raises(CorruptDataError, match=r"leads to other grants|cannot be applied again"):
        open_plan(tmp_path)


def test_an_older_snapshot_is_brought_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ClusterState(undo_window_s=5.0)
    payload = encode_state(state)
    monkeypatch.setattr(snapshot, "SNAPSHOT_VERSION", 2)
    assert snapshot.decode_state(payload) is None
    monkeypatch.setitem(snapshot.UPGRADES, 1, lambda document: {**document, "undo_window_s": 7.0})
    raised = snapshot.decode_state(payload)
    assert raised is not None
    assert raised.undo_window_s == 7.0
