"""Charts: resolutions, spikes, gaps, groups, runs that take turns, clients' clocks."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName
from gswarm.profiler import query as asked
from gswarm.profiler.answer_json import encode_answer
from gswarm.profiler.store.known import Clock, host_times
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.sample_store import Aggregate, AnswerSeries, By, SampleAnswer, SampleQuery, Span
from sample_kit import T0, A, B, Now, batch, columns, open_store

DAY_S = 86_400


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> ParquetSampleStore:
    """Two GPUs for a day at 0.5 Hz, folded twice, with one spike and an hour's gap."""
    store = open_store(tmp_path_factory.mktemp("day") / "s", Now(DAY_S))
    at = np.arange(0, DAY_S, 2.0)
    at = at[(at < 40_000) | (at >= 43_600)]
    for half, part in enumerate(np.array_split(at, 2)):
        for gpu in range(2):
            power = 300.0 + gpu + 5 * np.sin(part / 900)
            if gpu == 0:
                power[part == 70_002] = 9_999.0
            store.append(A, batch(10 * half + gpu + 1, columns(f"gpu:{gpu}", part.tolist(), {"gpu_power": power.tolist()})))
        store.fold()
    return store


@pytest.mark.parametrize(("points", "range_s", "step_s"), [(20, DAY_S, 4500), (500, DAY_S, 300), (4000, DAY_S, 30), (20_000, DAY_S, 10)])
def test_a_spike_never_disappears(day: ParquetSampleStore, points: int, range_s: int, step_s: int) -> None:
    answer = day.query(SampleQuery(("gpu_power",), T0, T0 + range_s, points))
    assert answer.step_s == step_s
    first, second = answer.series
    assert float(np.nanmax(first.high)) == 9_999.0
    assert float(np.nanmax(second.high)) < 310
    assert len(first.at_us) <= points


def test_samples_are_thinned_by_shape_and_extremes_stay(day: ParquetSampleStore) -> None:
    answer = day.query(SampleQuery(("gpu_power",), T0 + 69_000, T0 + 71_000, points=200))
    assert answer.step_s == 10
    answer = day.query(SampleQuery(("gpu_power",), T0 + 69_600, T0 + 70_400, points=330))
    assert answer.step_s == 0
    line = answer.series[0]
    assert len(line.at_us) <= 330 < 400
    assert 9_999.0 in line.mean.tolist()
    assert (np.diff(line.at_us) > 0).all()


@pytest.mark.parametrize("from_s", [120.0, 123.4, 129.999])
def test_no_point_lies_wholly_before_the_range(tmp_path: Path, from_s: float) -> None:
    store = open_store(tmp_path / "s", Now(200))
    store.append(A, batch(1, columns("gpu:0", list(range(180)), {"gpu_power": list(range(180))})))
    for _folded in range(2):
        answer = store.query(SampleQuery(("gpu_power",), T0 + from_s, T0 + from_s + 60, points=8))
        (line,) = answer.series
        assert answer.step_s == 10
        assert (line.at_us / 1e6 - T0).tolist() == [120, 130, 140, 150, 160, 170, 180][: len(line.at_us)]
        assert line.mean[:2].tolist() == [124.5, 134.5], "buckets are whole, in files and before"
        store.fold()
    store.close()


@pytest.mark.parametrize("points", [300, 1200, 8000])
def test_a_gap_is_a_gap_at_every_resolution(day: ParquetSampleStore, points: int) -> None:
    line = day.query(SampleQuery(("gpu_power",), T0 + 38_000, T0 + 46_000, points)).series[0]
    places = np.flatnonzero(np.isnan(line.mean))
    assert len(places) == 1
    assert 40_000 < line.at_us[places[0]] / 1e6 - T0 < 43_600
    assert np.isnan(line.low[places[0]])


@pytest.mark.parametrize("from_s", [60.0, 63.0, 119.5])
@pytest.mark.parametrize("folded", [False, True])
def test_buckets_at_both_ends_are_whole(tmp_path: Path, from_s: float, folded: bool) -> None:
    """Also where what belongs to them lies in a file that ends before the range, or begins behind it."""
    store = open_store(tmp_path / "s", Now(600))
    for seq, begin in enumerate((0, 60, 180, 240), 1):
        values = {"gpu_power": list(range(begin, begin + 60))}
        store.append(A, batch(seq, columns("gpu:0", list(range(begin, begin + 60)), values)))
        if folded:
            store.fold()
    query = SampleQuery(("gpu_power",), T0 + from_s, T0 + from_s + 240, points=5, aggregate=Aggregate.SUM, by=By.ALL)
    (line,) = store.query(query).series
    step_s = store.query(query).step_s
    assert len(line.at_us) <= 5
    for at_s, mean in zip((line.at_us / 1e6 - T0).tolist(), line.mean.tolist(), strict=True):
        own = [at for at in range(300) if at_s <= at < at_s + step_s and not 120 <= at < 180]
        assert math.isnan(mean) if not own else mean == pytest.approx(sum(own) / len(own))
    store.close()


def test_the_newest_sum_waits_for_all_who_go_on(tmp_path: Path) -> None:
    now = Now(60.2)
    store = open_store(tmp_path / "s", now)
    for number in range(64):
        # Number 0 is gone, 1 began late, and of the others a third has sent its last second.
        at = range(30) if number == 0 else range(45, 61) if number == 1 else range(61 if number % 3 == 0 else 60)
        store.append(ClientName(f"c{number}"), batch(1, columns("gpu:0", list(at), {"gpu_power": [100.0] * len(at)})))
    for width, points in ((1, 100), (10, 8)):
        query = SampleQuery(("gpu_power",), T0, T0 + 60.2, points, aggregate=Aggregate.SUM, by=By.ALL)
        now.at_s = T0 + 60.2
        answer = store.query(query)
        (line,) = answer.series
        assert answer.step_s == width
        found = dict(zip((line.at_us / 1e6 - T0).tolist(), line.mean.tolist(), strict=True))
        assert (found[0], found[30], found[50]) == (6300.0, 6200.0, 6300.0)
        assert math.isnan(found[60]), "most have not said yet what they take"
        now.at_s = T0 + 80
        (line,) = store.query(query).series
        assert line.mean[-1] == 2200.0, "now they will not say it"
    store.close()


def test_a_line_whose_interval_changes_has_no_gaps(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", Now(600))
    often = [*range(120), *(120 + tenth / 10 for tenth in range(2400))]
    seldom = [*(10 * ten for ten in range(12)), *range(120, 300), *range(330, 361)]
    store.append(A, batch(1, columns("gpu:0", often, {"gpu_power": [100.0] * len(often)})))
    store.append(B, batch(1, columns("gpu:0", seldom, {"gpu_power": [100.0] * len(seldom)})))
    for points in (20_000, 1000, 240):
        lines = {line.client: line for line in store.query(SampleQuery(("gpu_power",), T0, T0 + 360, points)).series}
        assert not np.isnan(lines["a"].mean).any()
        gaps = lines["b"].at_us[np.isnan(lines["b"].mean)] / 1e6 - T0
        assert len(gaps) == 1
        assert 299 < gaps[0] < 330
    store.close()


@pytest.mark.parametrize("points", [4, 5, 7, 50, 99, 200])
@pytest.mark.parametrize("spans", [None, (Span("r1", A, "gpu:0", "", T0, T0 + 4000),)])
def test_there_are_never_more_points_than_asked_for(tmp_path: Path, points: int, spans: tuple[Span, ...] | None) -> None:
    store = open_store(tmp_path / "s", Now(4000))
    at = [second for second in range(3600) if second % 15 < 8]
    store.append(A, batch(1, columns("gpu:0", at, {"gpu_power": [float(second % 7) for second in at]})))
    for aggregate in (Aggregate.NONE, Aggregate.SUM):
        for from_s, length_s in ((0.0, 3600.0), (13.7, 3599.9), (299.0, 302.0), (9.5, 41.0)):
            query = SampleQuery(("gpu_power",), T0 + from_s, T0 + from_s + length_s, points, spans=spans, aggregate=aggregate)
            (line,) = store.query(query).series
            assert 1 <= len(line.at_us) <= points
    store.close()


def test_a_sensor_without_an_answer_breaks_the_line(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    values = [1.0] * 40 + [math.nan] * 20 + [1.0] * 40
    store.append(A, batch(1, columns("gpu:0", list(range(100)), {"gpu_fan": values})))
    for points in (200, 40, 8):
        mean = store.query(SampleQuery(("gpu_fan",), T0, T0 + 100, points)).series[0].mean
        assert np.isnan(mean).any()
        assert np.nanmax(mean) == 1.0
    store.close()


def grouped(store: ParquetSampleStore, aggregate: Aggregate, by: By, **options: object) -> dict[tuple[str, str, str], list[float]]:
    query = SampleQuery(("gpu_power",), T0, T0 + 10, 100, aggregate=aggregate, by=by, **options)  # type: ignore[arg-type]
    return {(line.client, line.device, line.run): line.mean.tolist() for line in store.query(query).series}


@pytest.fixture
def three(tmp_path: Path) -> ParquetSampleStore:
    """Two GPUs of a and one of b."""
    store = open_store(tmp_path / "s")
    store.append(A, batch(1, columns("gpu:0", [0, 1], {"gpu_power": [1, 2]}), columns("gpu:1", [0.2, 1.2], {"gpu_power": [3, math.nan]})))
    store.append(B, batch(1, columns("gpu:0", [0.4, 1.4], {"gpu_power": [8, 9]})))
    return store


def test_groups_are_what_a_naive_reader_computes(three: ParquetSampleStore) -> None:
    assert grouped(three, Aggregate.SUM, By.ALL) == {("", "", ""): [12.0, 11.0]}
    assert grouped(three, Aggregate.MEAN, By.CLIENT) == {("a", "", ""): [2.0, 2.0], ("b", "", ""): [8.0, 9.0]}
    assert grouped(three, Aggregate.MIN, By.ALL) == {("", "", ""): [1.0, 2.0]}
    assert grouped(three, Aggregate.MAX, By.ALL) == {("", "", ""): [8.0, 9.0]}
    assert grouped(three, Aggregate.MEAN, By.DEVICE, clients=frozenset({"b"})) == {("b", "gpu:0", ""): [8.0, 9.0]}
    assert grouped(three, Aggregate.SUM, By.ALL, devices=frozenset({"gpu:0"})) == {("", "", ""): [9.0, 11.0]}


def test_runs_have_what_they_had_while_they_had_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    share = columns("gpu:0", [2, 3], {"process_memory_used": [5e9, 6e9]}, owner="run:r1")
    store.append(A, batch(1, columns("gpu:0", list(range(8)), {"gpu_power": [10, 10, 20, 20, 10, 10, 20, 20]}), share))
    turns = (("r1", 0), ("r2", 2), ("r1", 4), ("r2", 6))
    own = Span("r1", A, "", "run:r1", T0, T0 + 8)
    spans = (*(Span(run, A, "gpu:0", "", T0 + begin, T0 + begin + 2) for run, begin in turns), own)
    for folded in (False, True):
        found = {line.run: line for line in store.query(SampleQuery(("gpu_power",), T0, T0 + 8, 100, spans=spans)).series}
        assert found["r1"].mean[~np.isnan(found["r1"].mean)].tolist() == [10.0] * 4
        assert found["r2"].mean[~np.isnan(found["r2"].mean)].tolist() == [20.0] * 4
        by_run = store.query(SampleQuery(("gpu_power",), T0, T0 + 8, 100, spans=spans, aggregate=Aggregate.MEAN, by=By.RUN))
        assert {line.run for line in by_run.series} == {"r1", "r2"}
        memory = store.query(SampleQuery(("process_memory_used",), T0, T0 + 8, 100, spans=spans)).series
        assert [(line.run, line.owner, line.mean.tolist()) for line in memory] == [("r1", "run:r1", [5e9, 6e9])]
        if not folded:
            store.fold()
    assert store.query(SampleQuery(("gpu_power",), T0, T0 + 8, 100, spans=())).series == ()
    store.close()


def test_clients_clocks_are_set_right_where_they_are_wrong(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.append(A, batch(1, columns("gpu:0", [0, 1], {"gpu_power": [1, 2]}), offset_s=30.0))
    store.append(B, batch(1, columns("gpu:0", [0, 1], {"gpu_power": [1, 2]}), offset_s=0.0004))
    for _ in range(2):
        answer = store.query(SampleQuery(("gpu_power",), T0, T0 + 60, 100))
        assert {line.client: (line.at_us / 1e6 - T0).tolist() for line in answer.series} == {"a": [30.0, 31.0], "b": [0.0, 1.0]}
        offsets = store.query(SampleQuery(("clock_offset",), T0, T0 + 60, 100)).series
        assert {line.client: line.mean.tolist() for line in offsets} == {"a": [30.0], "b": [0.0004]}
        assert store.query(SampleQuery(("gpu_power",), T0 + 29, T0 + 30.5, 100)).series[0].mean.tolist() == [1.0]
        store.fold()
        store.close()
        store = open_store(tmp_path / "s")
    # The clock was set: from then on nothing is added.
    store.append(A, batch(2, columns("gpu:0", [40, 41], {"gpu_power": [3, 4]}), offset_s=0.0))
    line = store.query(SampleQuery(("gpu_power",), T0, T0 + 60, 100, clients=frozenset({"a"}))).series[0]
    shown = ~np.isnan(line.mean)
    assert (line.at_us[shown] / 1e6 - T0).tolist() == [30.0, 31.0, 40.0, 41.0]
    store.close()


def test_nonsense_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    good = SampleQuery(("gpu_power",), T0, T0 + 1)
    for wrong in (
        SampleQuery((), T0, T0 + 1),
        SampleQuery(("made_up",), T0, T0 + 1),
        SampleQuery(("gpu_power",) * 21, T0, T0 + 1),
        SampleQuery(("gpu_power",), T0, T0),
        SampleQuery(("gpu_power",), T0, math.inf),
        SampleQuery(("gpu_power",), math.nan, T0),
        SampleQuery(("gpu_power",), T0, T0 + 1, points=3),
        SampleQuery(("gpu_power",), T0, T0 + 1, points=20_001),
    ):
        with pytest.raises(InvalidInputError):
            store.query(wrong)
    assert store.query(good) == SampleAnswer(T0, T0 + 1, 0.0, ())
    store.close()


def test_an_answer_has_a_limit_of_lines(three: ParquetSampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "SERIES_MAX", 2)
    with pytest.raises(InvalidInputError, match="3 lines"):
        three.query(SampleQuery(("gpu_power",), T0, T0 + 10))


def test_too_many_rows_make_a_coarser_answer() -> None:
    kept = {0: T0 - 100, 10: T0 - 1000, 300: 0.0}
    wide = SampleQuery(("gpu_power",), T0, T0 + 3600, points=20_000)

    def of(series: int, range_s: float) -> dict[int, float]:
        return {width: series * range_s / max(width, 1) for width in kept}

    assert asked.resolution(wide, of(10, 3600), kept) == 0
    assert asked.resolution(wide, of(10_000, 3600), kept) == 10
    assert asked.resolution(wide, of(100_000, 3600), kept) == 300
    assert asked.resolution(SampleQuery(("gpu_power",), T0 - 200, T0, points=1000), of(1, 200), kept) == 10
    assert asked.resolution(SampleQuery(("gpu_power",), T0 - 2000, T0, points=1000), of(1, 2000), kept) == 300


def test_devices_that_are_gone_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no newest values any more, and as many rows as ever."""
    monkeypatch.setattr(asked, "ROWS_READ_MAX", 2_000)
    now = Now(1000)
    store = open_store(tmp_path / "s", now)
    for number in range(8):
        store.append(ClientName(f"c{number}"), batch(1, columns("gpu:0", list(range(1000)), {"gpu_power": [1.0] * 1000})))
    wide, narrow = (SampleQuery(("gpu_power",), T0, T0 + length_s, points=20_000) for length_s in (1000, 100))
    for _folded in range(2):
        assert (store.query(wide).step_s, store.query(narrow).step_s) == (10, 0)
        assert store.query(replace(wide, clients=frozenset({"c1"}))).step_s == 0
        store.fold()
    now.at_s += 2 * DAY_S
    store.retire()
    assert store.latest() == {}
    assert (store.query(wide).step_s, store.query(narrow).step_s) == (10, 0)
    store.close()


def test_json_is_exact_and_knows_gaps() -> None:
    at, values = np.array([1_800_000_000_123_456], np.int64), np.array([0.1])
    gap = np.array([math.nan])
    line = AnswerSeries('a"b', "gpu:0", "", "r1", "gpu_power", at, values, gap, values)
    text = b"".join(encode_answer(SampleAnswer(T0, T0 + 1, 10.0, (line, line))))
    assert json.loads(text)["series"][1] == {
        "client": 'a"b',
        "device": "gpu:0",
        "owner": "",
        "run": "r1",
        "metric": "gpu_power",
        "unit": "watts",
        "at": [1_800_000_000.123456],
        "mean": [0.1],
        "min": [None],
        "max": [0.1],
    }


def test_each_row_has_the_shift_of_its_own_clients_clock() -> None:
    """As one by one, whatever the order of rows and however many clocks there are."""
    drawn = np.random.default_rng(1)
    clients = [ClientName(f"c{number}") for number in range(40)]
    subjects = [(clients[number % 40], f"gpu:{number // 40}", "") for number in range(120)]
    clocks = {client: Clock([1000, 5000, 9000], [number, -number, 7]) for number, client in enumerate(clients) if number % 3}
    subject, at_us = drawn.integers(0, 120, 3000).astype(np.int32), drawn.integers(0, 10_000, 3000)
    before = at_us.copy()
    wanted = [
        at + (int(clocks[owner].shifts(np.array([at]))[0]) if (owner := subjects[number][0]) in clocks else 0)
        for number, at in zip(subject.tolist(), at_us.tolist(), strict=True)
    ]
    assert host_times(subject, at_us, clocks, subjects).tolist() == wanted
    assert (at_us == before).all(), "they are others' too"
