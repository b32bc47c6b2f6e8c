"""What a host says about its journal, its disks and its end, and how far back its events reach."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_host import ApiHost, api_host, with_runs
from host_support import plan_host, registered, submitted

from gswarm.domain.errors import CorruptDataError, NotFoundError, StorageError
from gswarm.domain.ids import ClientName
from gswarm.domain.messages import LogLine, MetricBatch, StepMetrics
from gswarm.host.intake import MetricIntake
from gswarm.host.journal.database import database_error
from gswarm.host.journal.protocol import Entry
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.host.last_words import SIZE_BYTES, LastWords, read_last_words
from gswarm.profiler.sqlite_series import SqliteSeriesStore
from gswarm.scheduler.events import ClientRegistered


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as running:
        yield running


# ---- status ------------------------------------------------------------------------------------------------------------------


def test_the_status_counts_what_a_crash_would_replay(api: ApiHost) -> None:
    with_runs(api)
    with api.host("viewer") as host:
        found = host.status()
        seq = host.ready()["seq"]
    journal = found["journal"]
    assert (journal["newest_event"], journal["lag_events"], journal["oldest_event"]) == (seq, seq, 1)
    assert (journal["snapshot_event"], journal["snapshot_age_s"], journal["waiting_events"]) == (None, None, 0)
    assert journal["last_flush_ms"] > 0
    assert journal["size_bytes"] > 1000
    assert (found["open_leases"], found["open_jobs"], found["connected"], found["clients"], found["epoch"]) == (2, 0, 1, 1, 0)
    for disk in ("data", "pool"):
        assert 0 < found["disks"][disk]["free_bytes"] <= found["disks"][disk]["total_bytes"]


def test_a_snapshot_takes_the_lag_back(api: ApiHost) -> None:
    with_runs(api)
    api.journal.save_snapshot(api.plan.seq - 1, b"a state")
    with api.host("viewer") as host:
        journal = host.status()["journal"]
    assert journal["lag_events"] == 1
    assert 0 <= journal["snapshot_age_s"] < 60


def test_a_host_whose_disk_failed_says_so(api: ApiHost) -> None:
    api.loop.call_soon_threadsafe(api.plan._fail, StorageError("the journal cannot be used: disk I/O error", "look at the kernel log"))
    with api.host("viewer") as host:
        assert host.health()["status"] == "failing"
        with pytest.raises(StorageError, match="disk I/O error"):
            host.ready()


# ---- how far back the events reach ---------------------------------------------------------------------------------------------


async def test_who_is_too_far_behind_is_told_where_to_go_on(tmp_path: Path) -> None:
    async with plan_host(tmp_path, snapshot_every_events=10_000) as host:
        for number in range(20):
            await host.submit(registered("a", f"i{number}"))
        host.journal._entries_kept = 4
        for seq in (15, 18):
            host.journal.save_snapshot(seq, b"state %d" % seq)
        assert host.loop.oldest == 15
        with pytest.raises(NotFoundError, match=r"not all events behind 14 .*follow them from 15 on"):
            await anext(host.loop.subscribe(14))
        events = host.loop.subscribe(15)
        heard = [(await anext(events)).event for _ in range(5)]
        assert [one.incarnation for one in heard if isinstance(one, ClientRegistered)] == [f"i{number}" for number in range(15, 20)]


def test_the_stream_of_events_answers_404_before_it_begins(api: ApiHost) -> None:
    with_runs(api)
    api.journal._entries_kept = 1
    for seq in (api.plan.seq - 2, api.plan.seq - 1):
        api.journal.save_snapshot(seq, b"a state")
    with api.host("viewer") as host:
        with pytest.raises(NotFoundError, match="follow them from"):
            next(host.events(0))
        assert next(host.events(api.plan.seq - 1))["id"] == api.plan.seq


# ---- damage and disks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", ["UPDATE meta SET value = value || '0' WHERE key LIKE 'constant.%'", "DELETE FROM meta WHERE key = 'seal'"]
)
def test_a_changed_head_is_noticed(tmp_path: Path, change: str) -> None:
    SqliteJournal(tmp_path / "journal.db", constants={"undo_window_s": "60.0"}).close()
    with sqlite3.connect(tmp_path / "journal.db") as db:
        assert db.execute(change).rowcount == 1
    with pytest.raises(CorruptDataError, match=r"the head of .* is damaged"):
        SqliteJournal(tmp_path / "journal.db")


def test_who_wrote_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    for version, count in (("0.5.0", 3), ("0.5.0", 2), ("0.6.0", 4)):
        journal = SqliteJournal(path, version=version, entries_kept=1)
        journal.append([_entry(number) for number in range(count)])
        journal.close()
    journal = SqliteJournal(path, version="0.7.0", entries_kept=1)
    assert [journal.writer_of(seq) for seq in (1, 5, 6, 9)] == ["0.5.0", "0.5.0", "0.6.0", "0.6.0"]
    for seq in (6, 7):
        journal.save_snapshot(seq, b"a state")
    assert (journal.trimmed_seq, journal.writer_of(7)) == (6, "0.6.0")
    journal.close()


def _entry(number: int) -> Entry:
    return Entry(float(number), registered("a", f"i{number}"))


def test_each_trouble_of_a_disk_has_its_advice(tmp_path: Path) -> None:
    def advice(name: str) -> str:
        error = sqlite3.OperationalError("it does not work")
        error.sqlite_errorname = name
        return database_error(tmp_path, error).hint

    assert "free space" in advice("SQLITE_FULL")
    assert "free space" in advice("SQLITE_IOERR_SHMSIZE")
    assert "kernel log" in advice("SQLITE_IOERR_FSYNC")
    assert "writable" in advice("SQLITE_READONLY")
    assert "another host writes" in advice("SQLITE_CONSTRAINT_PRIMARYKEY")
    assert "restore the last backup" in advice("SQLITE_CORRUPT_INDEX")


def test_last_words_fit_into_the_room_that_was_taken(tmp_path: Path) -> None:
    folder = tmp_path / "host"
    folder.mkdir()
    words = LastWords(folder)
    (file,) = folder.iterdir()
    assert (file.stat().st_size, read_last_words(tmp_path)) == (SIZE_BYTES, None)
    for text in ("the disk is full; free some", "\u20ac\n" * 5000):
        words.say(text, 5.0)
        ending = read_last_words(tmp_path)
        assert ending is not None
        assert (ending.at_s, file.stat().st_size) == (5.0, SIZE_BYTES)
        assert text.startswith(ending.error)
    LastWords(folder)
    assert read_last_words(tmp_path) is None, "a new host has said nothing yet"
    words.discard()
    words.discard()
    LastWords(tmp_path / "nowhere").say("nobody hears")
    file.write_text(json.dumps(["strange"]))
    assert read_last_words(tmp_path) is None


class FullLogs:
    """A store of logs that has room again after some refusals."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.lines: list[LogLine] = []

    def append(self, lines: object) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StorageError("the log of r1 cannot be written: No space left on device", "free some space")
        self.lines += lines  # type: ignore[operator]


async def test_a_full_disk_for_logs_holds_no_measurement_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with plan_host(tmp_path) as host:
        await host.submit(registered("a"), submitted(runs=1))
        await host.prepare("a")
        series, logs = SqliteSeriesStore(tmp_path / "series.db"), FullLogs(2)
        intake = MetricIntake(host.state, series, logs, host.time)
        for step in range(1, 4):
            row = StepMetrics("r1", 1, step, 1.0, (("loss", 2.0),))  # type: ignore[arg-type]
            await intake.store(ClientName("a"), MetricBatch(step, (row,), (LogLine("r1", 1.0, "info", f"at {step}"),)))  # type: ignore[arg-type]
        assert [point[0] for point in series.query("r1", "loss")] == [1, 2, 3]  # type: ignore[arg-type]
        assert [line.text for line in logs.lines] == ["at 3"]
        assert intake.lost_log_lines == 2
        series.close()
    said = [record.message for record in caplog.records if record.name == "gswarm.host.intake"]
    assert ["being lost" in said[0], "2 lines were lost" in said[1], len(said)] == [True, True, 2]
