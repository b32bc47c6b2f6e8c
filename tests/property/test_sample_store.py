"""The sample store against a naive one, a list: any order, duplicates, restarts, folds, and a log that ends at any byte."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gswarm.domain.ids import ClientName
from gswarm.domain.samples import SampleBatch, SampleColumns
from gswarm.profiler.store import merging
from gswarm.profiler.store.encodings import choose
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.rows import US, bucketed, samples
from gswarm.profiler.store.sample_store import AnswerSeries, SampleQuery
from gswarm.profiler.store.store_limits import StoreLimits

BEGIN_S = 1_800_000_000
RANGE_S = 4_000
METRICS = ("gpu_power", "gpu_utilization")
Key = tuple[str, str, str]
Naive = dict[Key, list[tuple[int, float]]]

values = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.integers(0, 100).map(lambda percent: percent / 100),
    st.integers(-(10**6), 10**6).map(lambda milliwatts: milliwatts / 1000),
)
columns = st.tuples(
    st.sampled_from(("gpu:0", "gpu:1")),
    st.lists(st.tuples(st.integers(0, RANGE_S * US - 1), values, values), min_size=1, max_size=8),
)
batches = st.tuples(st.sampled_from(("a", "b")), st.integers(1, 12), st.lists(columns, min_size=1, max_size=3))
steps = st.lists(st.one_of(batches, st.sampled_from(("fold", "restart", "seal"))), min_size=1, max_size=14)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def opened(root: Path) -> ParquetSampleStore:
    return ParquetSampleStore(root, StoreLimits(), lambda: BEGIN_S + RANGE_S, fold_in_background=False)


def made_batch(seq: int, parts: list[tuple[str, list[tuple[int, float, float]]]]) -> SampleBatch:
    made = []
    for device, rows in parts:
        times = np.array([BEGIN_S * US + at for at, _, _ in rows], "<i8")
        matrix = np.array([[row[1] for row in rows], [row[2] for row in rows]], "<f8")
        made.append(SampleColumns(device, "", METRICS, times.tobytes(), matrix.tobytes()))
    return SampleBatch("spool", seq, tuple(made))


def remember(naive: Naive, client: str, parts: list[tuple[str, list[tuple[int, float, float]]]]) -> None:
    for device, rows in parts:
        for at, *both in rows:
            for metric, value in zip(METRICS, both, strict=True):
                naive[client, device, metric].append((BEGIN_S * US + at, value if abs(value) <= 1e200 else math.nan))


def found_samples(store: ParquetSampleStore) -> Naive:
    """Everything, through the query, sample by sample."""
    found: Naive = defaultdict(list)
    subjects = store.subject_names()
    for table in store.tables(BEGIN_S, BEGIN_S + RANGE_S):
        for place, number in enumerate(table.subject):
            client, device, _ = subjects[number]
            for metric, row in zip(table.metrics, table.values, strict=True):
                found[client, device, metric].append((int(table.at_us[place]), float(row[place])))
    return found


def same(left: Naive, right: Naive) -> bool:
    def plain(naive: Naive) -> dict[Key, list[tuple[int, str]]]:
        return {key: sorted((at, repr(value)) for at, value in rows) for key, rows in naive.items() if rows}

    return plain(left) == plain(right)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_a_store_holds_what_a_list_would(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: list[object]) -> None:
    monkeypatch.setattr(merging, "MERGE_AT", 2)
    root = Path(tempfile.mkdtemp(dir=folder))
    store, naive, known = opened(root), defaultdict(list), set()
    for step in steps:
        if step == "fold":
            store.fold()
        elif step == "seal":
            store.seal()
        elif step == "restart":
            store.close()
            store = opened(root)
        else:
            client, seq, parts = step  # type: ignore[misc]
            store.append(ClientName(client), made_batch(seq, parts))
            if (client, seq) not in known:
                known.add((client, seq))
                remember(naive, client, parts)
    assert same(found_samples(store), naive)
    check_lines(store, naive)
    check_rollups(store, naive)
    latest = {(key.client, key.device, key.metric): at for key, (at, _) in store.latest().items()}
    assert latest == {key: pytest.approx(max(at for at, _ in rows) / US, abs=1e-6) for key, rows in naive.items() if rows}
    store.close()
    shutil.rmtree(root)


def check_lines(store: ParquetSampleStore, naive: Naive) -> None:
    """A chart of few samples shows each of them."""
    answer = store.query(SampleQuery(METRICS, BEGIN_S, BEGIN_S + RANGE_S, points=20_000))
    assert answer.step_s == 0
    lines = {(line.client, line.device, line.metric): line for line in answer.series}
    assert set(lines) == {key for key, rows in naive.items() if rows}
    for key, line in lines.items():
        shown = [(int(at), float(value)) for at, value in zip(line.at_us, line.mean, strict=True) if not math.isnan(value)]
        assert sorted(shown) == sorted((at, value) for at, value in naive[key] if not math.isnan(value))
        assert (np.diff(line.at_us) >= 0).all()


def check_rollups(store: ParquetSampleStore, naive: Naive) -> None:
    """Of every bucket the extremes are exact, and the mean is what rounding leaves."""
    for points, width_s in ((600, 10), (40, 300)):
        answer = store.query(SampleQuery(METRICS, BEGIN_S, BEGIN_S + RANGE_S, points=points))
        assert answer.step_s == width_s
        for line in answer.series:
            wanted: dict[int, list[float]] = defaultdict(list)
            for at, value in naive[line.client, line.device, line.metric]:
                if not math.isnan(value):
                    wanted[at // (width_s * US) * width_s * US].append(value)
            assert shown_buckets(line) == {at: (min(own), max(own)) for at, own in wanted.items()}
            for at, mean in zip(line.at_us.tolist(), line.mean.tolist(), strict=True):
                if not math.isnan(mean):
                    own = [value / len(wanted[at]) for value in wanted[at]]
                    assert mean == pytest.approx(math.fsum(own), rel=1e-6, abs=1e-9 + 1e-9 * max(map(abs, own)))


def shown_buckets(line: AnswerSeries) -> dict[int, tuple[float, float]]:
    rows = zip(line.at_us.tolist(), line.low.tolist(), line.high.tolist(), strict=True)
    return {at: (low, high) for at, low, high in rows if not math.isnan(low)}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_log_that_ends_anywhere_gives_back_every_whole_batch(folder: Path, data: st.DataObject) -> None:
    root = Path(tempfile.mkdtemp(dir=folder))
    store = opened(root)
    ends = []
    for seq in range(1, 5):
        if seq == 3:
            store.fold()
            ends.clear()
        store.append(ClientName("a"), made_batch(seq, [("gpu:0", [(seq * US, seq / 10, 1.0)])]))
        ends.append((store._log.size_bytes, seq))
    log = store._log.path
    store.close()
    size = log.stat().st_size
    cut = data.draw(st.integers(0, size))
    with log.open("r+b") as file:
        file.truncate(cut)
    store = opened(root)
    naive: Naive = defaultdict(list)
    for seq in (1, 2, *(seq for end, seq in ends if end <= cut)):
        remember(naive, "a", [("gpu:0", [(seq * US, seq / 10, 1.0)])])
    assert same(found_samples(store), naive)
    for seq in range(1, 5):  # the client sends what was not acknowledged, and more
        store.append(ClientName("a"), made_batch(seq, [("gpu:0", [(seq * US, seq / 10, 1.0)])]))
    assert sum(map(len, found_samples(store).values())) == 8
    store.close()
    shutil.rmtree(root)


@settings(max_examples=100, deadline=None)
@given(st.lists(values.map(lambda value: value if math.isfinite(value) else math.nan), min_size=1, max_size=40))
def test_every_encoding_gives_back_the_same_bits(given_values: list[float]) -> None:
    column = np.array(given_values)
    encoding = choose(column)
    again = encoding.to_values(pa.chunked_array([encoding.to_arrow(column)]))
    assert again.dtype == np.float64
    assert [math.isnan(value) for value in again] == [math.isnan(value) for value in column]
    kept = ~np.isnan(column)
    assert again[kept].tobytes() == column[kept].tobytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 500), st.floats(-1e9, 1e9) | st.just(math.nan)), min_size=1, max_size=60))
def test_rollups_of_rollups_are_the_rollup(rows: list[tuple[int, int, float]]) -> None:
    whole = samples(
        np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows], np.int64), np.array([row[2] for row in rows])
    )
    at_once, in_two = bucketed(whole, 60), bucketed(bucketed(whole, 10), 60)
    for left, right in ((at_once.low, in_two.low), (at_once.high, in_two.high), (at_once.count, in_two.count)):
        assert np.array_equal(left, right, equal_nan=True)
    assert np.array_equal(at_once.subject, in_two.subject)
    assert np.array_equal(at_once.at_us, in_two.at_us)
    assert np.allclose(at_once.total, in_two.total, equal_nan=True, rtol=1e-9, atol=1e-3)
