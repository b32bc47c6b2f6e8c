"""As many values are counted as an export has, and none of them is read for it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gswarm.domain.ids import ClientName
from gswarm.profiler.export import Selection, count_values, csv_pieces
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.segments import Segment
from sample_kit import T0, Now, batch, columns, open_store

METRICS = ("gpu_power", "gpu_fan", "gpu_utilization")
CLIENTS = ("a", "b", "c")


def exported(store: ParquetSampleStore, selection: Selection) -> int:
    return b"".join(csv_pieces(store, selection)).count(b"\n") - 1


def fill(store: ParquetSampleStore, drawn: random.Random) -> None:
    """Segments that lie in time one behind the other, and one that came late; what is not folded yet; a clock that is wrong."""
    for seq in range(1, 7):
        for client in CLIENTS:
            begin = drawn.choice([10.0 * seq, 10.0 * seq, 0.0])
            parts = []
            for gpu in range(2):
                chosen = drawn.sample(METRICS, drawn.randint(1, 3))
                times = [begin + number for number in range(drawn.randint(1, 10))]
                parts.append(columns(f"gpu:{gpu}", times, {name: [1.0] * len(times) for name in chosen}))
            store.append(ClientName(client), batch(seq, *parts, offset_s=-5.0 if client == "c" else None))
        if seq < 6:
            store.fold()


@pytest.mark.parametrize("seed", range(10))
def test_a_count_is_the_length_of_the_export(tmp_path: Path, seed: int) -> None:
    drawn = random.Random(seed)
    store = open_store(tmp_path / "s")
    fill(store, drawn)
    if seed % 2:
        store.close()
        store = open_store(tmp_path / "s")  # nothing of the segments is in memory any more
    for _ in range(12):
        from_s = T0 + drawn.uniform(-5, 70)
        selection = Selection(
            from_s,
            from_s + drawn.choice([0.0, 5.0, 30.0, 200.0]),
            frozenset(drawn.sample(METRICS, drawn.randint(0, 2))),
            frozenset(drawn.sample(CLIENTS, drawn.randint(0, 2))),
        )
        assert count_values(store, selection) == exported(store, selection), selection
    store.close()


def test_a_file_that_lies_in_the_range_is_not_opened_for_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "s", Now(1e6))
    fill(store, random.Random(3))
    store.fold()
    chosen = Selection(T0 - 1000, T0 + 1000, frozenset({"gpu_power"}))
    one = Selection(T0 - 1000, T0 + 1000, frozenset({"gpu_power"}), frozenset({"a"}))
    wanted, of_one = exported(store, chosen), exported(store, one)
    store.close()
    store = open_store(tmp_path / "s", Now(1e6))

    def opened(*_: object) -> None:
        raise AssertionError("it was opened")

    for name in ("read_tables", "rows", "read_times"):
        monkeypatch.setattr(Segment, name, opened)
    assert count_values(store, one) == of_one
    monkeypatch.setattr("gswarm.profiler.store.segments.pq.ParquetFile", opened)
    assert count_values(store, chosen) == wanted
    assert count_values(store, one) == of_one, "it is known from the first time"
    store.close()


def test_a_damaged_file_counts_for_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    fill(store, random.Random(1))
    half = Selection(T0 + 12, T0 + 40, clients=frozenset({"a"}))
    whole = count_values(store, half)
    store.close()
    store = open_store(tmp_path / "s")
    path = sorted((tmp_path / "s").glob("raw-*.parquet"))[1]
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)
    assert count_values(store, half) < whole
    store.close()
