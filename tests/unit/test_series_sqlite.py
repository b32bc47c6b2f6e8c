"""The series store: newest generation wins, gaps are gaps, and it survives its process."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gswarm.domain.errors import CorruptDataError, IncompatibleVersionError, InvalidInputError, InvariantError, StorageError
from gswarm.domain.ids import RunId
from gswarm.domain.messages import StepMetrics
from gswarm.profiler.series import SeriesStore
from gswarm.profiler.sqlite_series import METRIC_CHARS_MAX, SqliteSeriesStore

R1, R2 = RunId("r1"), RunId("r2")


def step(number: int, generation: int = 1, run: RunId = R1, at_s: float | None = None, **values: float) -> StepMetrics:
    return StepMetrics(run, generation, number, float(number) if at_s is None else at_s, tuple(values.items()))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteSeriesStore]:
    store = SqliteSeriesStore(tmp_path / "series" / "training.db")
    yield store
    store.close()


def test_it_is_a_series_store(store: SqliteSeriesStore) -> None:
    as_protocol: SeriesStore = store
    assert as_protocol.metrics(R1) == []


def test_append_and_query(store: SqliteSeriesStore) -> None:
    store.append([step(2, loss=2.0, lr=0.1), step(1, loss=3.0), step(5, loss=1.0)])
    store.append([step(1, run=R2, loss=9.0)])
    assert store.metrics(R1) == ["loss", "lr"]
    assert store.metrics(R2) == ["loss"]
    assert store.query(R1, "loss") == [(1, 3.0, 1.0), (2, 2.0, 2.0), (5, 1.0, 5.0)]
    assert store.query(R1, "loss", 2, 4) == [(2, 2.0, 2.0)]
    assert store.query(R1, "loss", points=2) == [(1, 3.0, 1.0), (5, 1.0, 5.0)]
    assert store.query(R1, "nothing") == store.query(RunId("r9"), "loss") == []
    assert store.latest(R1) == {"loss": (5, 1.0), "lr": (2, 0.1)}
    assert store.latest(RunId("r9")) == {}
    with pytest.raises(InvalidInputError):
        store.query(R1, "loss", points=1)


def test_the_newest_generation_wins_in_any_order(store: SqliteSeriesStore) -> None:
    store.append([step(1, 3, loss=3.0)])
    store.append([step(1, 2, loss=2.0)])
    assert store.query(R1, "loss") == [(1, 3.0, 1.0)]
    store.append([step(1, 3, loss=3.5), step(1, 4, loss=4.0)])
    assert store.query(R1, "loss") == [(1, 4.0, 1.0)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.floats(-10, 10)), max_size=25), st.integers(1, 5))
def test_against_a_naive_model(store: SqliteSeriesStore, items: list[tuple[int, int, float]], batch: int) -> None:
    store.delete_run(R1)
    model: dict[int, tuple[int, float]] = {}
    for number, generation, value in items:
        if generation >= model.get(number, (0, 0.0))[0]:
            model[number] = (generation, value)
    for start in range(0, len(items), batch):
        store.append([step(number, generation, loss=value) for number, generation, value in items[start : start + batch]])
    assert [(number, value) for number, value, _ in store.query(R1, "loss")] == [(number, model[number][1]) for number in sorted(model)]


def test_what_cannot_be_stored_is_a_gap_and_holds_nothing_up(store: SqliteSeriesStore) -> None:
    store.append(
        [
            step(1, loss=math.nan, good=1.0),
            step(2, loss=math.inf),
            step(3, loss=-math.inf),
            step(4, at_s=math.nan, loss=1.0),
            step(1 << 63, loss=1.0),
            step(-1, loss=1.0),
            step(5, **{"x" * (METRIC_CHARS_MAX + 1): 1.0, "": 1.0}),
            step(6, loss=6.0),
        ]
    )
    assert store.query(R1, "loss") == [(6, 6.0, 6.0)]
    assert store.metrics(R1) == ["good", "loss"]
    assert store.refused_values == 8


def test_a_deleted_run_is_gone_and_may_come_again(store: SqliteSeriesStore) -> None:
    store.append([step(1, loss=1.0), step(1, run=R2, loss=2.0)])
    store.delete_run(R1)
    store.delete_run(RunId("never"))
    assert store.query(R1, "loss") == []
    assert store.query(R2, "loss") == [(1, 2.0, 1.0)]
    store.append([step(2, loss=3.0)])
    assert store.query(R1, "loss") == [(2, 3.0, 2.0)]


def test_threads_read_while_others_write(store: SqliteSeriesStore) -> None:
    done = threading.Event()

    def write(lane: int) -> None:
        for number in range(50):
            store.append([step(number, run=RunId(f"r{lane}"), **{f"m{number % 7}": float(number)})])

    def read(lane: int) -> None:
        run = RunId(f"r{lane}")
        while not done.is_set():
            for metric in store.metrics(run):
                rows = store.query(run, metric, points=4)
                assert rows == sorted(rows)
            store.latest(run)

    with ThreadPoolExecutor(8) as threads:
        readers = [threads.submit(read, lane) for lane in range(4)]
        for writer in [threads.submit(write, lane) for lane in range(4)]:
            writer.result()
        done.set()
        for reader in readers:
            reader.result()
    assert all(sum(len(store.query(RunId(f"r{lane}"), f"m{n}")) for n in range(7)) == 50 for lane in range(4))


_KILLED = """
import sys
from pathlib import Path
from gswarm.domain.messages import StepMetrics
from gswarm.profiler.sqlite_series import SqliteSeriesStore
store = SqliteSeriesStore(Path(sys.argv[1]))
store.append([StepMetrics("r1", 1, 1, 1.0, (("loss", 1.0),))])
print("stored", flush=True)
sys.stdin.read()
"""


def test_kill_9_after_append_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "series.db"
    with subprocess.Popen([sys.executable, "-c", _KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stored\n"
        process.send_signal(signal.SIGKILL)
    store = SqliteSeriesStore(path)
    assert store.query(R1, "loss") == [(1, 1.0, 1.0)]
    store.append([step(2, loss=2.0)])
    store.close()


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database" * 100)
    with pytest.raises(CorruptDataError):
        SqliteSeriesStore(tmp_path / "text")
    with pytest.raises(StorageError):
        SqliteSeriesStore(tmp_path / "text" / "below")
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(IncompatibleVersionError):
        SqliteSeriesStore(tmp_path / "newer")


def test_a_failed_append_stores_nothing_and_the_next_one_works(store: SqliteSeriesStore) -> None:
    with pytest.raises(TypeError):
        store.append([step(1, loss=1.0), StepMetrics(R2, 1, 1, 1.0, (("new", "text"),))])  # type: ignore[arg-type]
    assert store.metrics(R1) == []
    store.append([step(1, new=1.0, loss=2.0)])
    assert store.metrics(R1) == ["loss", "new"]


def test_closing(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    store = SqliteSeriesStore(tmp_path / "series.db")
    store.append([step(1, loss=1.0)])
    store.query(R1, "loss")
    store.close()
    store.close()
    assert len(os.listdir("/proc/self/fd")) == before
    for use in (lambda: store.append([]), lambda: store.query(R1, "loss"), lambda: store.delete_run(R1)):
        with pytest.raises(InvariantError):
            use()


def test_a_run_has_a_limit_of_metrics_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.profiler.sqlite_series.METRICS_PER_RUN_MAX", 3)
    for again in range(2):
        store = SqliteSeriesStore(tmp_path / "series.db")
        store.append([step(again, **{f"{again}m{number}": 1.0 for number in range(5)}, loss=2.0)])
        store.append([step(again, run=R2, loss=3.0, other=1.0)])
        assert store.metrics(R1) == ["0m0", "0m1", "0m2"], "also after a restart"
        assert store.metrics(R2) == ["loss", "other"], "another run has room"
        store.append([step(9, **{"0m1": 7.0})])
        assert store.query(R1, "0m1", 9) == [(9, 7.0, 9.0)]
        assert store.refused_values == (3 if again == 0 else 6)
        store.close()
