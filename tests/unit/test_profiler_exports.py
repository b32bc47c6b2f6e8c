"""Exports hold every sample and nothing that a reader's program would obey; reports are pages on their own; sessions outlive the host."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gswarm.domain.errors import ConflictError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import ClientName
from gswarm.host.profiling import sessions as profiler_sessions
from gswarm.host.profiling.sessions import ProfilerSession, ProfilerSessions
from gswarm.profiler.catalog import METRICS
from gswarm.profiler.export import Selection, count_values, csv_pieces, json_pieces, parquet_pieces
from gswarm.profiler.report import Fact, ReportTable, amount, report_pieces
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from sample_kit import T0, A, B, batch, columns, open_store

EVIL = "<script>alert(1)</script>"
ALL = Selection(T0, T0 + 99)


@pytest.fixture
def store(tmp_path: Path) -> ParquetSampleStore:
    """One segment and something new; an owner with a name that means harm."""
    made = open_store(tmp_path / "s")
    made.append(A, batch(1, columns("gpu:0", [0, 1], {"gpu_power": [100.5, float("nan")], "gpu_fan": [0.5, 0.5]})))
    made.fold()
    made.append(B, batch(1, columns("gpu:1", [50], {"gpu_power": [7.0]}, owner="=2+3"), columns("gpu:1", [50], {"gpu_fan": [1.0]}, EVIL)))
    return made


def test_csv_has_every_value_and_no_formulas(store: ParquetSampleStore) -> None:
    rows = list(csv.DictReader(io.StringIO(b"".join(csv_pieces(store, ALL)).decode())))
    assert len(rows) == count_values(store, ALL) == 6
    assert [row["value"] for row in rows if row["metric"] == "gpu_power"] == ["100.5", "", "7"]
    assert {row["owner"] for row in rows} == {"", "'=2+3", EVIL}
    assert rows[0]["at"].startswith("2027-01-15 08:00:00")
    assert {row["unit"] for row in rows} == {"watts", "ratio"}


def test_parquet_and_json_say_the_same(store: ParquetSampleStore) -> None:
    table = pq.read_table(io.BytesIO(b"".join(parquet_pieces(store, ALL))))
    assert table.num_rows == 6
    assert sorted(value for value in table["value"].to_pylist() if value is not None) == [0.5, 0.5, 1.0, 7.0, 100.5]
    document = json.loads(b"".join(json_pieces(store, ALL, "mine")))
    assert (document["name"], document["from"]) == ("mine", T0)
    power = [line for line in document["series"] if line["metric"] == "gpu_power"]
    assert [(line["client"], line["at"], line["values"]) for line in power] == [("a", [T0, T0 + 1], [100.5, None]), ("b", [T0 + 50], [7.0])]


def test_a_selection_leaves_the_rest_out(store: ParquetSampleStore) -> None:
    chosen = Selection(T0, T0 + 99, frozenset({"gpu_power"}), frozenset({"a"}))
    assert count_values(store, chosen) == 2
    assert count_values(store, Selection(T0 + 0.5, T0 + 50)) == 4
    assert count_values(store, Selection(T0 + 60, T0 + 70)) == 0
    assert json.loads(b"".join(json_pieces(store, Selection(T0 + 60, T0 + 70), "none")))["series"] == []
    assert pq.read_table(io.BytesIO(b"".join(parquet_pieces(store, Selection(T0 + 60, T0 + 70))))).num_rows == 0


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "onload", "onclick")]


def test_a_report_is_a_page_on_its_own(store: ParquetSampleStore) -> None:
    table = ReportTable(f"Runs {EVIL}", ("run",), ((EVIL,),))
    page = b"".join(report_pieces(store, ALL, f"mine {EVIL}", [Fact("who", EVIL)], [table])).decode()
    parsed = _Page()
    parsed.feed(page)
    assert "script" not in parsed.tags
    assert parsed.addresses == []
    assert parsed.tags.count("svg") == 2
    assert page.count("&lt;script&gt;") == 6, "the owner in the legend, too"
    assert re.search(r"https?://", page) is None
    assert "Power draw" in page


def test_a_report_of_many_devices_shows_their_range(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.append(A, batch(1, *(columns(f"gpu:{gpu}", [0, 1, 2, 50], {"gpu_power": [gpu, 2, 3, 4]}) for gpu in range(13))))
    page = b"".join(report_pieces(store, ALL, "many", [], [])).decode()
    assert "mean and range of 13 lines" in page
    assert page.count("fill-opacity") == 1
    assert "nan" not in page.lower()
    store.close()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.634, "ratio", "63.4 %"),
        (3 * 2**30, "bytes", "3 GiB"),
        (2**50, "bytes", "1.02e+03 TiB"),
        (0.0, "bytes_per_second", "0 B/s"),
        (1.98e9, "hertz", "1980 MHz"),
        (312.04, "watts", "312 W"),
        (5.0, "count", "5"),
    ],
)
def test_amounts_for_people(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


# ---- sessions -----------------------------------------------------------------------------------------------------------


def test_sessions_outlive_the_host(tmp_path: Path) -> None:
    now = [T0]
    changes: list[int] = []
    path = tmp_path / "sessions.json"
    sessions = ProfilerSessions(path, lambda: now[0], lambda: changes.append(1))
    assert sessions.intervals() == (("*", 1.0),)
    sessions.start("one", 0.2, ("gpu_power",), ("a",))
    sessions.start("two", 0.5)
    sessions.start("mixed", 1.0, ("gpu_power", "cpu_utilization"), ("c",), {"cpu_utilization": 0.1})
    again = ProfilerSessions(path, lambda: now[0])
    assert again.items() == sessions.items()
    assert again.intervals() == (("*", 0.5), ("cpu_utilization", 0.1), ("gpu_power", 0.2))
    assert again.intervals(ClientName("c")) == (("*", 0.5), ("cpu_utilization", 0.1))
    assert again.intervals(ClientName("b")) == (("*", 0.5),)
    now[0] += 10
    stopped = again.stop("two")
    now[0] += 10
    assert again.stop("two") == stopped
    assert stopped.range_s(now[0]) == (T0, T0 + 10)
    assert again.intervals(ClientName("b")) == (("*", 1.0),)
    again.counted("two", 42)
    assert ProfilerSessions(path, lambda: now[0]).get("two").samples == 42
    again.delete("two")
    with pytest.raises(NotFoundError):
        again.get("two")
    assert len(changes) == 3


def test_sessions_that_cannot_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sessions.json"
    sessions = ProfilerSessions(path, lambda: T0)
    sessions.start("one", 1.0)
    with pytest.raises(ConflictError):
        sessions.start("one", 1.0)
    with pytest.raises(InvalidInputError):
        sessions.start("two", 0.01)
    with pytest.raises(InvalidInputError):
        sessions.start("two", 1.0, ("made_up",))
    monkeypatch.setattr(profiler_sessions, "SESSIONS_MAX", 1)
    with pytest.raises(LimitError):
        sessions.start("two", 1.0)
    with pytest.raises(InvalidInputError, match="10 s is longer than the second at which everything is sampled"):
        sessions.start("two", 10.0)
    with pytest.raises(InvalidInputError):
        sessions.start("two", 1.0, (), (), {"gpu_power": math.nan})
    with pytest.raises(InvalidInputError):
        sessions.start("two", 1.0, ("gpu_power",), (), {"gpu_fan": 0.1})
    with pytest.raises(InvalidInputError):
        sessions.start("two", 1.0, (), (), {"made_up": 0.1})
    path.write_text('[{"name": 3}]')
    assert ProfilerSessions(path, lambda: T0).items() == []
    assert path.with_suffix(".damaged").exists()


def test_a_session_says_what_is_sampled_at_another_interval(tmp_path: Path) -> None:
    sessions = ProfilerSessions(tmp_path / "sessions.json", lambda: T0)
    assert sessions.start("usual", 1.0).other_intervals_s == {}
    asked = sessions.start("asked", 0.1, ("gpu_power", "gpu_xid", "cpu_utilization", "mfu"), (), {"cpu_utilization": 0.2})
    assert asked.other_intervals_s == {"gpu_xid": 1.0, "cpu_utilization": 0.2, "mfu": 0.5}
    assert asked.interval_text == "0.1 s; 0.2 s: cpu_utilization; 0.5 s: mfu; 1 s: gpu_xid"
    every = sessions.start("every", 0.1).other_intervals_s
    assert every == {metric.name: metric.fastest_s for metric in METRICS if metric.fastest_s > 0.1}
    old = ProfilerSession("of before", 60.0, ("gpu_power", "gone"), (), T0)
    assert old.interval_text == "60 s; 1 s: gpu_power"
