"""What the sample store refuses, sets aside, forgets, and how it comes back after each way to end."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path

import numpy as np
import pytest

from gswarm.domain.errors import CorruptDataError, InvalidInputError, InvariantError, StorageError
from gswarm.domain.samples import DeviceInfo, DeviceProcess, SampleBatch, SampleColumns, SeriesKey
from gswarm.profiler.store import compaction, known, parquet_store, subjects
from gswarm.profiler.store.compaction import DAMAGED, Folder
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.rows import US
from gswarm.profiler.store.sample_store import SampleQuery
from gswarm.profiler.store.store_limits import StoreLimits
from sample_kit import T0, A, B, Now, batch, columns, open_store

GPU = columns("gpu:0", [0, 1, 2], {"gpu_power": [100.0, 200.0, 300.0]})


def powers(store: ParquetSampleStore, to_s: float = 99.0) -> list[float]:
    answer = store.query(SampleQuery(("gpu_power",), T0, T0 + to_s, points=1000))
    return [value for line in answer.series for value in line.mean.tolist() if not math.isnan(value)]


BAD = {
    "times that are no int64": dataclasses.replace(GPU, times_us=b"1234567"),
    "values that do not fit": dataclasses.replace(GPU, values=GPU.values[:-8]),
    "no rows": SampleColumns("gpu:0", "", ("gpu_power",), b"", b""),
    "no metrics": dataclasses.replace(GPU, metrics=(), values=b""),
    "a metric twice": SampleColumns("gpu:0", "", ("gpu_power", "gpu_power"), GPU.times_us, GPU.values * 2),
    "a long name": dataclasses.replace(GPU, device="g" * 65),
    "a path": dataclasses.replace(GPU, device="../gpu"),
    "a control character": dataclasses.replace(GPU, owner="run:\x1b[2J"),
    "a long owner": dataclasses.replace(GPU, owner="o" * 129),
    "1970": dataclasses.replace(GPU, times_us=np.zeros(3, "<i8").tobytes()),
    "far ahead": dataclasses.replace(GPU, times_us=np.full(3, 2**62, "<i8").tobytes()),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bad_columns_refuse_the_batch_and_nothing_of_it_is_stored(tmp_path: Path, bad: SampleColumns) -> None:
    store = open_store(tmp_path / "s")
    with pytest.raises(InvalidInputError):
        store.append(A, batch(1, GPU, bad))
    assert powers(store) == []
    store.append(A, batch(1, GPU))
    assert powers(store) == [100.0, 200.0, 300.0]
    store.close()


def test_bad_batches_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    device = DeviceInfo("gpu:0", "gpu", "n" * 201)
    crowd = DeviceInfo("gpu:0", "gpu", "n", processes=(DeviceProcess(1, "a", "c", "", None),) * 257)
    for bad in (
        batch(0, GPU),
        SampleBatch("a b", 1, (GPU,)),
        batch(1, devices=(device,)),
        batch(1, devices=(crowd,)),
        batch(1, *[GPU] * 5000),
    ):
        with pytest.raises(InvalidInputError):
            store.append(A, bad)
    assert powers(store) == []
    store.close()


def test_what_is_no_number_is_no_answer_and_counted(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.append(A, batch(1, columns("gpu:0", [0, 1, 2, 3], {"gpu_power": [1.0, math.inf, -math.inf, math.nan], "made_up": [1, 1, 1, 1]})))
    assert (store.counts.infinite, store.counts.unknown, store.counts.values) == (2, 4, 4)
    assert powers(store) == [1.0]
    assert math.isnan(store.latest()[SeriesKey(A, "gpu:0", "", "gpu_power")][1])
    store.close()


def test_a_client_that_floods_with_names_loses_the_rest_and_nobody_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parquet_store, "SERIES_PER_CLIENT_MAX", 2)
    store = open_store(tmp_path / "s")
    store.append(A, batch(1, *(columns(f"gpu:{number}", [0], {"gpu_power": [float(number)]}) for number in range(3))))
    store.append(B, batch(1, columns("gpu:9", [0], {"gpu_power": [9.0]})))
    assert powers(store) == [0.0, 1.0, 9.0]
    assert store.counts.refused == 1
    with caplog.at_level(logging.WARNING, "gswarm.profiler"):
        store.fold()
        store.retire()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["1 values and devices of clients were left out"]
    store.close()


def test_clients_devices_and_names_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_store, "CLIENTS_MAX", 1)
    monkeypatch.setattr(known, "DEVICES_PER_CLIENT_MAX", 1)
    monkeypatch.setattr(subjects, "SUBJECTS_MAX", 1)
    store = open_store(tmp_path / "s")
    devices = (DeviceInfo("gpu:0", "gpu", "one"), DeviceInfo("gpu:1", "gpu", "two"))
    store.append(A, batch(1, GPU, columns("gpu:1", [0], {"gpu_power": [5.0]}), devices=devices))
    with pytest.raises(StorageError, match="of 1 clients already"):
        store.append(B, batch(1, columns("gpu:0", [0], {"gpu_power": [7.0]})))  # not acknowledged: it stays in the client's spool
    assert powers(store) == [100.0, 200.0, 300.0]
    assert [device.name for _, device, _ in store.devices()] == ["one"]
    assert store.counts.refused == 2
    store.close()


def test_a_missing_batch_is_waited_for_in_vain_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "HOLES_MAX", 3)
    store = open_store(tmp_path / "s")
    for seq in (2, 3, 4, 3, 1, 6, 7, 8, 9, 5, 9, 10):
        store.append(A, batch(seq, columns("gpu:0", [seq], {"gpu_power": [float(seq)]})))
    assert powers(store) == [1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0, 9.0, 10.0], "the fifth came when it was given up"
    assert store.counts.duplicates == 3
    assert store._known.spools[A]["0123456789abcdef"].above == set()
    store.close()


def test_of_many_spools_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "SPOOLS_PER_CLIENT_MAX", 2)
    memory = known.Known()
    for spool in ("one", "two", "one", "three"):
        memory.add(A, spool, len(memory.spools.get(A, {}).get(spool, known.Spool()).above) + 1)
    assert list(memory.spools[A]) == ["one", "three"]
    again = known.Known.decode(memory.encode())
    assert again.has(A, "three", 1)
    assert not again.has(A, "two", 1)


@pytest.mark.parametrize("moment", ["write_raw", "write_rollup", "_save", "commit"])
def test_a_fold_that_breaks_off_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    store = open_store(tmp_path / "s")
    store.append(A, batch(1, GPU))

    def fails(*_args: object, **_options: object) -> None:
        raise StorageError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Folder if moment == "commit" else compaction, moment, fails)
        with pytest.raises(StorageError):
            store.fold()
        assert powers(store) == [100.0, 200.0, 300.0]
        # The process is killed here: nothing is closed in order, and another one opens the folder.
    again = open_store(tmp_path / "s")
    assert powers(again) == [100.0, 200.0, 300.0]
    again.append(A, batch(1, GPU))
    again.fold()
    assert powers(again) == [100.0, 200.0, 300.0]
    again.close()
    store.close()


def test_a_disk_that_stays_full_makes_clients_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "s", fold_bytes=1)

    def fails(*_args: object, **_options: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(compaction, "write_raw", fails)
    for seq in range(1, parquet_store.SEALED_MAX + 2):
        store.append(A, batch(seq, columns("gpu:0", [seq], {"gpu_power": [float(seq)]})))
    with pytest.raises(StorageError):
        store.append(A, batch(9, columns("gpu:0", [9], {"gpu_power": [9.0]})))
    assert powers(store) == [1.0, 2.0, 3.0, 4.0, 5.0]
    monkeypatch.undo()
    store.fold_sealed()
    store.append(A, batch(9, columns("gpu:0", [9], {"gpu_power": [9.0]})))
    assert powers(store) == [1.0, 2.0, 3.0, 4.0, 5.0, 9.0]
    store.close()


def test_a_disk_that_has_room_again_is_noticed_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ParquetSampleStore(tmp_path / "s", StoreLimits(fold_bytes=1), Now(100.0), fold_retry_s=0.01)

    def fails(*_args: object, **_options: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(compaction, "write_raw", fails)
    for seq in range(1, parquet_store.SEALED_MAX + 2):
        store.append(A, batch(seq, columns("gpu:0", [seq], {"gpu_power": [float(seq)]})))
    with pytest.raises(StorageError):
        store.append(A, batch(9, columns("gpu:0", [9], {"gpu_power": [9.0]})))
    monkeypatch.undo()
    with store._mutex:
        assert store._work.wait_for(lambda: not store._sealed, timeout=20)
    store.append(A, batch(9, columns("gpu:0", [9], {"gpu_power": [9.0]})))
    assert powers(store) == [1.0, 2.0, 3.0, 4.0, 5.0, 9.0]
    store.close()


def test_a_background_thread_folds_a_full_log(tmp_path: Path) -> None:
    store = ParquetSampleStore(tmp_path / "s", StoreLimits(fold_bytes=1), Now(100.0))
    for seq in range(1, 4):
        store.append(A, batch(seq, columns("gpu:0", [seq], {"gpu_power": [float(seq)]})))
    with store._mutex:
        store._work.wait_for(lambda: len(store._segments) == 6, timeout=20)
    assert powers(store) == [1.0, 2.0, 3.0]
    store.close()
    store.close()
    with pytest.raises(InvariantError):
        store.append(A, batch(4, GPU))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(bytes(data))


def test_damaged_segments_are_set_aside_and_the_rest_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "s"
    store = open_store(root)
    store.append(A, batch(1, GPU))
    store.fold()
    store.append(A, batch(2, columns("gpu:0", [10], {"gpu_power": [7.0]})))
    store.fold()
    store.close()
    for place in range(60, 90):
        flip(root / "raw-000000000001.parquet", place)
    flip(root / "10s-000000000002.parquet", -1)
    (root / "5min-000000000002.parquet").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        store = open_store(root)
        assert powers(store) == [7.0]
    assert sorted(path.name for path in (root / DAMAGED).iterdir()) == [
        "10s-000000000002.parquet",
        "5min-000000000002.parquet",
        "raw-000000000001.parquet",
    ]
    assert caplog.text.count("it is set aside") == 3
    store.close()


def test_a_damaged_log_gives_what_stands_before_the_damage_and_keeps_the_rest_aside(tmp_path: Path) -> None:
    root = tmp_path / "s"
    store = open_store(root)
    store.append(A, batch(1, GPU))
    whole = store._log.size_bytes
    store.append(A, batch(2, columns("gpu:0", [10], {"gpu_power": [7.0]})))
    store.append(A, batch(3, columns("gpu:0", [11], {"gpu_power": [8.0]})))
    path = store._log.path
    store.close()
    size = path.stat().st_size
    flip(path, whole + 20)
    store = open_store(root)
    assert powers(store) == [100.0, 200.0, 300.0]
    assert (root / DAMAGED / path.name).stat().st_size == size - whole
    store.append(A, batch(2, columns("gpu:0", [10], {"gpu_power": [7.0]})))
    store.close()
    store = open_store(root)
    assert powers(store) == [100.0, 200.0, 300.0, 7.0]
    store.close()


def test_what_is_known_falls_back_to_the_save_before(tmp_path: Path) -> None:
    root = tmp_path / "s"
    store = open_store(root)
    for seq in (1, 2):
        store.append(A, batch(seq, columns("gpu:0", [seq], {"gpu_power": [float(seq)]}), devices=(DeviceInfo("gpu:0", "gpu", "H200"),)))
        store.fold()
    store.close()
    flip(root / "known-000000000002.json", 30)
    store = open_store(root)
    assert store.devices() == [(A, DeviceInfo("gpu:0", "gpu", "H200"), T0 + 1)]
    assert powers(store) == [1.0, 2.0]
    store.append(A, batch(1, GPU))
    assert store.counts.duplicates == 1
    store.close()
    with pytest.raises(CorruptDataError):
        known.Known.decode(b"nothing of the kind")


def test_old_segments_go(tmp_path: Path) -> None:
    now = Now(0.0)
    store = open_store(tmp_path / "s", now, raw_retention_s=50.0, medium_retention_s=150.0)
    for seq in (1, 2):
        now.at_s = T0 + 100 * seq
        store.append(A, batch(seq, columns("gpu:0", [100 * seq], {"gpu_power": [float(seq)]})))
        store.fold()
    assert sorted(path.name[:5] for path in (tmp_path / "s").glob("*.parquet")) == ["10s-0", "10s-0", "5min-", "5min-", "raw-0"]
    assert {segment.number for segment in store._segments if segment.resolution_s == 0} == {2}
    store.close()


def test_what_is_too_much_goes_raw_first_and_oldest_first(tmp_path: Path) -> None:
    root, now = tmp_path / "s", Now(0.0)
    store = open_store(root, now)
    for seq in (1, 2):
        now.at_s = T0 + 1000 * seq
        store.append(A, batch(seq, columns("gpu:0", [1000 * seq], {"gpu_power": [float(seq)]})))
        store.fold()
    store.close()
    gone = []
    while there := {path.name: path.stat().st_size for path in root.glob("*.parquet")}:
        store = open_store(root, now, disk_bytes_max=sum(there.values()) - 1)
        store.retire()
        (left,) = there.keys() - {path.name for path in root.glob("*.parquet")}
        gone.append(left.removesuffix(".parquet").replace("00000000000", ""))
        assert store.size_bytes() == sum(there.values()) - there[left]
        store.close()
    assert gone == ["raw-1", "raw-2", "10s-1", "10s-2", "5min-1", "5min-2"]


def test_a_clock_that_runs_ahead_keeps_nothing_for_ever(tmp_path: Path) -> None:
    now = Now(0.0)
    store = open_store(tmp_path / "s", now, raw_retention_s=3600.0)
    store.append(A, batch(1, columns("gpu:0", [10**8], {"gpu_power": [1.0]})))
    store.fold()
    now.at_s += 4000
    store.retire()
    assert not list((tmp_path / "s").glob("raw-*"))
    store.close()


def test_memory_holds_the_newest_tables_only(tmp_path: Path) -> None:
    row_bytes = 4 + 8 + 8
    store = open_store(tmp_path / "s", memory_bytes_max=2 * 2 * row_bytes)
    for seq in range(1, 5):
        store.append(A, batch(seq, columns("gpu:0", [seq], {"gpu_power": [float(seq)]})))
        store.fold()
    held = {segment.number: segment.tables is not None for segment in store._segments if segment.resolution_s == 0}
    assert held == {1: False, 2: False, 3: True, 4: True}
    assert powers(store) == [1.0, 2.0, 3.0, 4.0]
    assert store._cache._bytes <= 2 * row_bytes
    store.close()


def test_a_clock_that_drifts_for_a_day_moves_nothing_that_was_before() -> None:
    clock, day_s, drift = known.Clock(), 86_400, 20e-6
    for second in range(0, day_s, 10):
        clock.measured(second * US, drift * second, 0.0005)
    assert len(clock.from_us) <= known.SHIFTS_PER_CLIENT_MAX
    at_s = np.arange(0, day_s, 600)
    off_s = np.abs(clock.shifts(at_s * US) / US - drift * at_s)
    assert off_s.max() < 2 * drift * day_s / known.SHIFTS_PER_CLIENT_MAX + 0.002


def test_an_hour_with_a_wrong_clock_is_remembered_over_noise() -> None:
    clock = known.Clock()
    for second in range(0, 3_600, 10):
        clock.measured(second * US, 30.0, 0.001)
    for second in range(3_600, 86_400, 10):
        clock.measured(second * US, 0.0012 if second % 20 else 0.0008, 0.001)
    assert (clock.shifts(np.array([1_800, 50_000]) * US) / US).tolist() == pytest.approx([30.0, 0.0], abs=0.0013)


def test_an_offset_that_wavers_about_its_error_is_one_shift() -> None:
    clock = known.Clock()
    for second in range(0, 600, 10):
        clock.measured(second * US, 0.0012 if second % 20 else 0.0008, 0.001)
    assert clock.shift_us == [1_200]
    clock.measured(600 * US, 0.0001, 0.001)
    assert clock.shift_us == [1_200, 0]
