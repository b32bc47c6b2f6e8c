"""A session's summary is complete however much happened in it, and each idle time has one cause."""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from gswarm.domain.ids import ClientName, RunId, SlotId
from gswarm.domain.plan import Slot, SlotSpec
from gswarm.domain.samples import DeviceInfo
from gswarm.host.profiling import session_summary
from gswarm.host.profiling.services import ProfilerServices
from gswarm.host.profiling.session_summary import IdleSum, SessionSummary, summarize
from gswarm.host.profiling.sessions import ProfilerSessions
from gswarm.host.timeline.chronicle import Chronicle
from gswarm.host.timeline.idle_causes import Cause
from gswarm.host.timeline.run_spans import tenures
from gswarm.host.timeline.slot_book import IdleSpan, SlotSpan, prepare, write_spans
from gswarm.profiler.export import Selection
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from sample_kit import T0, A, B, Now, batch, columns, open_store

ALL = Selection(T0, T0 + 100)


def run_span(run: str, begin: float, end: float | None, slot: str = "a/0") -> SlotSpan:
    return SlotSpan(SlotId(slot), ClientName(slot[0]), RunId(run), T0 + begin, T0 + end if end is not None else None)


def idle_span(cause: Cause, begin: float, end: float | None, slot: str = "a/0") -> IdleSpan:
    return IdleSpan(SlotId(slot), ClientName(slot[0]), cause, T0 + begin, T0 + end if end is not None else None)


class _Told:
    """Stands in for a chronicle that knows these spans."""

    def __init__(self, spans: Iterable[SlotSpan | IdleSpan]) -> None:
        self.database = sqlite3.connect(":memory:")
        prepare(self.database)
        write_spans(self.database, spans)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        yield self.database


@pytest.fixture
def store(tmp_path: Path) -> ParquetSampleStore:
    return open_store(tmp_path / "s")


def summary(
    store: ParquetSampleStore, spans: Iterable[SlotSpan | IdleSpan], selection: Selection = ALL, gpu_slots: tuple[str, ...] = ()
) -> SessionSummary:
    slots = {SlotId(slot): Slot(SlotSpec(SlotId(slot), f"cuda:{slot[2:]}"), ClientName(slot[0])) for slot in gpu_slots}
    services = ProfilerServices(store, cast(ProfilerSessions, None), cast(Chronicle, _Told(spans)))
    return summarize(services, selection, slots, {})


def test_idle_times_keep_the_cause_that_they_had(store: ParquetSampleStore) -> None:
    found = summary(
        store,
        [
            idle_span(Cause.CLIENT_LOST, -50, 10),
            run_span("r1", 10, 20),
            idle_span(Cause.STOPPED, 20, 20.5),
            idle_span(Cause.NONE_FITS, 20.5, 30),
            run_span("r2", 30, None),
            idle_span(Cause.DRAINED, 90, None, "b/0"),
            idle_span(Cause.NO_WORK, 0, 7, "c/0"),
        ],
    )
    assert [(one.client, one.device, one.from_s - T0, one.to_s - T0, one.cause) for one in found.bubbles] == [
        ("a", "slot:0", 0, 10, Cause.CLIENT_LOST),
        ("c", "slot:0", 0, 7, Cause.NO_WORK),
        ("a", "slot:0", 20.5, 30, Cause.NONE_FITS),
        ("b", "slot:0", 90, 100, Cause.DRAINED),
    ], "less than a second is no bubble, and time before a slot or after it neither"
    assert [(one.run, round(3600 * one.slot_hours, 6)) for one in found.runs] == [("r1", 10), ("r2", 70)]
    assert list(found.causes()) == [Cause.CLIENT_LOST, Cause.DRAINED, Cause.NONE_FITS, Cause.NO_WORK]
    assert found.left_out == 0


def test_a_selection_of_clients(store: ParquetSampleStore) -> None:
    spans = [run_span("r1", 0, 10), idle_span(Cause.NO_WORK, 10, None), run_span("r2", 0, None, "b/0")]
    found = summary(store, spans, Selection(T0, T0 + 100, clients=frozenset({"b"})))
    assert ([one.run for one in found.runs], found.bubbles) == (["r2"], ())


def test_a_long_session_of_short_turns_counts_as_a_whole(store: ParquetSampleStore) -> None:
    store.append(A, batch(1, columns("gpu:0", list(range(0, 60_000, 100)), {"gpu_power": [360.0] * 600})))
    turns = [run_span(f"r{number % 3}", 2 * number, 2 * number + 2) for number in range(30_000)]
    found = summary(store, turns, Selection(T0, T0 + 60_000), ("a/0",))
    assert sum(one.slot_hours for one in found.runs) == pytest.approx(60_000 / 3600)
    assert sum(one.gpu_hours for one in found.runs) == pytest.approx(60_000 / 3600)
    assert sum(one.energy_wh or 0.0 for one in found.runs) == pytest.approx(360 * 60_000 / 3600)
    assert found.bubbles == ()


def test_a_gpu_that_a_run_had_too_shortly_for_a_sample_counts_with_what_it_takes_otherwise(store: ParquetSampleStore) -> None:
    store.append(A, batch(1, columns("gpu:0", [0, 10, 20, 30], {"gpu_power": [100.0, 100.0, 100.0, 100.0]})))
    spans = [run_span("r1", 0, 12), run_span("r2", 12, 15), run_span("r1", 15, 36), run_span("r3", 0, 36, "a/1")]
    found = summary(store, spans, gpu_slots=("a/0", "a/1"))
    used = {one.run: one.energy_wh for one in found.runs}
    assert used == {"r1": pytest.approx(100 * 33 / 3600), "r2": pytest.approx(100 * 3 / 3600), "r3": None}


def test_a_time_that_was_sampled_faster_weighs_no_more(tmp_path: Path) -> None:
    slow, fast = list(range(3240)), [3240 + tenth / 10 for tenth in range(3600)]
    watts = [100.0] * len(slow) + [700.0] * len(fast)
    measured = {"gpu_power": watts, "gpu_utilization": [watt / 1000 for watt in watts], "gpu_memory_used": watts}
    for raw_retention_s in (7 * 86_400.0, 0.0):
        store = open_store(tmp_path / f"{raw_retention_s}", Now(3600), raw_retention_s=raw_retention_s)
        store.append(A, batch(1, columns("gpu:0", slow + fast, measured), devices=(DeviceInfo("gpu:0", "gpu", "g"),)))
        store.fold()
        (one,) = summary(store, [run_span("r1", 0, 3600)], Selection(T0, T0 + 3600), ("a/0",)).runs
        assert one.energy_wh == pytest.approx(100 * 0.9 + 700 * 0.1), "54 minutes at 100 W and 6 minutes at 700 W"
        assert (one.memory_mean_bytes, one.utilization_mean) == (pytest.approx(160), pytest.approx(0.16))
        store.close()


def test_only_the_longest_bubbles_are_told_and_all_are_counted(store: ParquetSampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_summary, "BUBBLES_MAX", 3)
    spans: list[SlotSpan | IdleSpan] = []
    for number in range(8):
        begin, end = 10 * number, 11 * number + 1
        spans += [idle_span(Cause.NO_WORK, begin, end), run_span("r1", end, begin + 10)]
    found = summary(store, spans, Selection(T0, T0 + 80))
    assert [one.to_s - one.from_s for one in found.bubbles] == [6, 7, 8]
    assert found.left_out == 5
    assert found.causes() == {Cause.NO_WORK: IdleSum(8, 36.0, 8.0)}
    (_, table) = found.tables()
    assert table.rows == (("a", "slot:0", "no work", "36.0 s"),)


def test_measured_idleness_counts_where_the_slot_had_a_run(store: ParquetSampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {"idle_share": [1.0] * 20 + [0.0] * 20, "swap_share": [0.0] * 20 + [1.0] * 10 + [0.0] * 10}
    for client in (A, B):
        store.append(client, batch(1, columns("slot:0", [at + 0.5 for at in range(40)], shares)))
    spans = [
        *(idle_span(Cause.NO_WORK, 0, 10), run_span("r1", 10, None)),
        *(run_span("r2", 0, 15, "b/0"), run_span("r3", 15, 25, "b/0"), idle_span(Cause.DRAINED, 25, None, "b/0")),
    ]
    for slots_max in (2_500, 1):
        monkeypatch.setattr(session_summary, "SLOTS_MAX", slots_max)
        found = summary(store, spans)
        assert {key: round(one.total_s) for key, one in found.idle.items()} == {
            (A, "slot:0", Cause.NO_WORK): 10,
            (A, "slot:0", Cause.WAITING): 10,
            (A, "slot:0", Cause.SWAP): 10,
            (B, "slot:0", Cause.WAITING): 20,
            (B, "slot:0", Cause.SWAP): 5,
            (B, "slot:0", Cause.DRAINED): 75,
        }


# ---- what runs had, by columns ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_sums_are_what_a_naive_reader_computes(store: ParquetSampleStore, seed: int) -> None:
    drawn = random.Random(seed)
    values: dict[str, list[tuple[float, float]]] = {}
    parts = []
    for gpu in ("gpu:0", "gpu:1"):
        times = sorted(drawn.sample(range(100), drawn.randint(1, 60)))
        values[gpu] = [(at, drawn.choice([drawn.uniform(0, 9), float("nan")])) for at in times]
        parts.append(columns(gpu, times, {"gpu_power": [value for _, value in values[gpu]]}))
    own = [(float(at), drawn.uniform(0, 9)) for at in range(0, 100, 7)]
    parts.append(columns("gpu:0", [at for at, _ in own], {"gpu_power": [value for _, value in own]}, owner="run:r1"))
    parts.append(columns("gpu:0", [1.0], {"gpu_power": [77.0]}, owner="run:nobody"))
    store.append(A, batch(1, *parts))
    if seed % 2:
        store.fold()
    gpus = {SlotId("a/0"): "gpu:0", SlotId("a/1"): "gpu:1", SlotId("a/2"): "gpu:0"}
    spans: list[SlotSpan] = []
    for slot in gpus:
        at = drawn.uniform(-20, 20)
        while at < 110:
            end = at + drawn.choice([0.0, 0.4, drawn.uniform(0, 30)])
            spans.append(run_span(drawn.choice(["r1", "r2", "r3"]), at, end if end < 105 else None, slot))
            at = end + drawn.choice([0.0, 0.0, drawn.uniform(0.01, 10)])
    from_s, to_s = T0 + drawn.uniform(0, 30), T0 + drawn.uniform(60, 99)
    wanted: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for span in spans:
        begin_s, end_s = max(span.from_s, from_s), min(span.to_s if span.to_s is not None else to_s, to_s)
        taken = [value for at, value in values[gpus[span.slot]] if begin_s <= T0 + at < end_s and value == value]
        wanted[span.run, gpus[span.slot], ""] += taken
    if any(span.run == "r1" for span in spans):
        wanted["r1", "gpu:0", "run:r1"] = [value for at, value in own if from_s <= T0 + at < to_s]
    found = {
        (one.run, one.device, one.owner): (one.count, one.total, one.low, one.high)
        for one in store.sums("gpu_power", tenures(spans, gpus), from_s, to_s)
    }
    assert found == {key: pytest.approx((len(one), sum(one), min(one), max(one))) for key, one in wanted.items() if one}
    store.close()


def test_a_bucket_of_a_rollup_belongs_to_whom_its_middle_does(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", raw_retention_s=0.0)
    store.append(A, batch(1, columns("gpu:0", list(range(40)), {"gpu_power": [1.0] * 40}), devices=(DeviceInfo("gpu:0", "gpu", "g"),)))
    store.fold()
    spans = [run_span("r1", 0, 14), run_span("r2", 14, 40)]
    found = {one.run: one.count for one in store.sums("gpu_power", tenures(spans, {SlotId("a/0"): "gpu:0"}), T0, T0 + 40)}
    assert found == {"r1": 10, "r2": 30}, "no bucket counts twice"
    store.close()


def test_columns_are_made_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.host.timeline.run_spans._PAGE", 2)
    made = tenures([run_span(f"r{number % 2}", number, number + 1) for number in range(5)], {})
    turns = made.devices[A, "slot:0"]
    assert (turns.run.tolist(), (turns.from_us - round(T0 * 1e6)).tolist()) == ([0, 1, 0, 1, 0], [n * 1_000_000 for n in range(5)])
    assert made.hosts == {(A, "r0"), (A, "r1")}
