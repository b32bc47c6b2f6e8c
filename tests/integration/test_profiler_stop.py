"""A session ends at once however much it holds, its values are counted when somebody looks, and the host's loop reads none of them."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from api_host import ApiHost, api_host, with_runs

from gswarm.domain.errors import StorageError
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import SampleBatch, SampleColumns
from gswarm.host.timeline.chronicle import Chronicle
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.segments import Segment
from gswarm.sdk import Host

METRICS = tuple(f"gpu_{name}" for name in ("power", "utilization", "memory_used", "temperature", "fan", "sm_clock"))
CLIENTS, GPUS, ROWS = 16, 8, 30
READS = ("count", "tables", "query", "sums", "devices", "latest", "subject_names")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as made:
        yield made


def measure(api: ApiHost, client: str, seq: int, begin_s: float) -> int:
    """So many values."""
    times = (round(begin_s * 1e6) + np.arange(ROWS) * 1000).astype("<i8").tobytes()
    values = np.ones((len(METRICS), ROWS)).astype("<f8").tobytes()
    columns = tuple(SampleColumns(f"gpu:{gpu}", "", METRICS, times, values) for gpu in range(GPUS))
    api.profiler.samples.append(ClientName(client), SampleBatch("0123456789abcdef", seq, columns))
    return GPUS * ROWS * len(METRICS)


class Watched:
    """Who reads the store or the chronicle, by thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads: list[tuple[str, int]] = []
        for name in READS:
            monkeypatch.setattr(ParquetSampleStore, name, self._noted(name, getattr(ParquetSampleStore, name)))
        reading = Chronicle.reading

        @contextmanager
        def noted(chronicle: Chronicle) -> Iterator[sqlite3.Connection]:
            self.reads.append(("chronicle", threading.get_ident()))
            with reading(chronicle) as database:
                yield database

        monkeypatch.setattr(Chronicle, "reading", noted)

    def _noted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            self.reads.append((name, threading.get_ident()))
            return call(*arguments)

        return noted

    def taken(self) -> list[str]:
        """Since the last time."""
        names, self.reads = [name for name, _ in self.reads], []
        return names


def loop_thread(api: ApiHost) -> int:
    async def ident() -> int:
        return threading.get_ident()

    found: int = api.call(ident())
    return found


def test_nothing_of_a_large_session_is_read_on_the_loop_and_nothing_at_all_to_end_it(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    with_runs(api)
    with api.host() as host:
        host.start_profiler("all")
        host.start_profiler("some", metrics=["gpu_power"], clients=["c3", "c4"])
        values = sum(measure(api, f"c{number}", 1, time.time()) for number in range(CLIENTS))
        api.profiler.samples.fold()
        time.sleep(ROWS / 1000)  # the rows' times are the wall clock's
        watched = Watched(monkeypatch)
        for name in ("all", "some"):
            assert host.stop_profiler(name)["samples"] is None
        assert watched.taken() == []
        seen = [host.profiler_session(name)["samples"] for name in ("all", "some")]
        assert seen == [values, 2 * GPUS * ROWS]
        assert {one["name"]: one["samples"] for one in host.profiler_sessions()} == dict(zip(("all", "some"), seen, strict=True))
        host.profiler_summary("all")
        for format in ("csv", "json", "parquet", "html"):
            assert b"".join(host.export_profiler_session("some", format))
        host.profiler_annotations()
        host.profiler_query(["gpu_power"], runs="r1")
    assert {"count", "tables", "query", "sums", "chronicle"} <= {name for name, _ in watched.reads}
    assert loop_thread(api) not in {thread for _, thread in watched.reads}


def test_the_host_goes_on_while_values_are_counted(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, counts = threading.Event(), threading.Event()
    count = ParquetSampleStore.count

    def slow(store: ParquetSampleStore, wanted: Any) -> int:
        counts.set()
        assert goes_on.wait(30)
        return count(store, wanted)

    monkeypatch.setattr(ParquetSampleStore, "count", slow)
    with api.host() as host, ThreadPoolExecutor(1) as threads:
        for name in ("one", "two"):
            host.start_profiler(name)
        shown = threads.submit(_shown, api, "one")
        assert counts.wait(30)
        try:
            assert host.stop_profiler("two")["state"] == "stopped"
            assert len(host.profiler_sessions()) == 2
            api.join()
            measure(api, "a", 1, time.time())
        finally:
            goes_on.set()
        assert shown.result(30) is not None


def _shown(api: ApiHost, name: str) -> int | None:
    with Host(api.url, api.bearer["viewer"]) as host:
        found: int | None = host.profiler_session(name)["samples"]
        return found


def test_samples_that_come_after_the_end_count(api: ApiHost) -> None:
    with api.host() as host:
        host.start_profiler("mine")
        early = measure(api, "a", 1, time.time())
        frozen_s = time.time()
        time.sleep(2 * ROWS / 1000)
        host.stop_profiler("mine")
        assert host.profiler_session("mine")["samples"] == early
        late = measure(api, "b", 1, frozen_s)
        assert host.profiler_session("mine")["samples"] == early + late
        api.profiler.samples.fold()
        assert host.profiler_sessions()[0]["samples"] == early + late
        assert b"".join(host.export_profiler_session("mine", "csv")).count(b"\n") == 1 + early + late
        assert host.stop_profiler("mine")["samples"] == early + late


def test_a_full_disk_hides_no_count(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    with api.host() as host:
        host.start_profiler("mine")
        host.stop_profiler("mine")

        def full(name: str, samples: int) -> None:
            raise StorageError("no room", "free some space")

        monkeypatch.setattr(api.profiler.sessions, "counted", full)
        assert host.profiler_session("mine")["samples"] == 0


def test_values_are_counted_without_being_read(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> Any:
        raise AssertionError("values were read")

    with api.host() as host:
        host.start_profiler("mine", metrics=["gpu_power", "gpu_fan"], clients=["a"])
        for client in ("a", "b"):
            measure(api, client, 1, time.time())
        api.profiler.samples.fold()
        time.sleep(2 * ROWS / 1000)
        host.stop_profiler("mine")
        monkeypatch.setattr(Segment, "read_tables", read)
        monkeypatch.setattr(Segment, "rows", read)
        assert host.profiler_session("mine")["samples"] == 2 * GPUS * ROWS
