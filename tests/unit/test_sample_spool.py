"""The spool: nothing is lost while there is room, and a kill at any moment loses nothing that was written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gswarm.client.sampling.columns import column
from gswarm.client.sampling.spool import SEGMENT_BYTES, Spool, Spools
from gswarm.domain.errors import StorageError
from gswarm.domain.samples import SampleBatch

MIB = 1024 * 1024


def batch(number: int, rows: int = 1) -> SampleBatch:
    """Of values that deflate badly."""
    values = random.Random(number)
    return SampleBatch("", 0, (column("machine", "", ("load_1m",), [(values.random() * 1e9, (values.random(),)) for _ in range(rows)]),))


def numbers(spool: Spool, after: int = 0) -> list[int]:
    return [record.seq for record in spool.read(after, 10_000)]


def test_what_was_written_is_read_in_order_also_after_a_kill(tmp_path: Path) -> None:
    spools = Spools(tmp_path, MIB * 10)
    for number in range(5):
        spools.append(batch(number))
    again = Spools(tmp_path, MIB * 10)  # the first is not closed: its process was killed
    (old,) = again.old
    assert (old.name, numbers(old), old.waiting) == (spools.live.name, [1, 2, 3, 4, 5], 5)
    assert [record.batch().columns for record in old.read(3, 1)] == [batch(3).columns]
    assert again.live.name != old.name
    assert old.read(0, 1)[0].batch().spool == old.name


def test_segments_go_once_the_host_has_them(tmp_path: Path) -> None:
    spools = Spools(tmp_path, 100 * MIB)
    big = batch(1, 8_000)
    while len(list(spools.live.folder.iterdir())) < 3:
        spools.append(big)
    live = spools.live
    before = live.size_bytes
    live.ack(live.last - 1)
    assert before - live.size_bytes > SEGMENT_BYTES
    assert live.waiting == 1
    assert numbers(live, live.acked) == [live.last]
    live.ack(live.last)
    assert (live.waiting, live.size_bytes) == (0, 0) or live.size_bytes < 64 * 1024
    spools.append(batch(2))
    assert numbers(live, live.acked) == [live.last]


def test_only_what_has_no_room_is_lost_the_oldest_first_and_counted(tmp_path: Path) -> None:
    spools = Spools(tmp_path, 4 * MIB)
    while not spools.lost_rows:
        spools.append(batch(1, 8_000))
        assert spools.size_bytes <= 4 * MIB + 200_000
    kept = numbers(spools.live)
    lost_batches = kept[0] - 1
    assert spools.lost_rows == lost_batches * 8_000
    assert kept == list(range(kept[0], spools.live.last + 1)), "only the oldest"
    assert spools.live.waiting == len(kept)


def test_older_spools_go_first(tmp_path: Path) -> None:
    Spools(tmp_path, 4 * MIB).append(batch(1, 18_000))
    spools = Spools(tmp_path, 4 * MIB)
    while spools.old:
        spools.append(batch(2, 8_000))
    assert spools.lost_rows == 18_000
    assert numbers(spools.live)[0] == 1


def test_a_torn_end_costs_only_itself(tmp_path: Path) -> None:
    spools = Spools(tmp_path, 4 * MIB)
    for number in range(3):
        spools.append(batch(number))
    (segment,) = spools.live.folder.iterdir()
    whole = segment.read_bytes()
    for cut in (1, 10, len(whole) // 3 - 1):
        segment.write_bytes(whole[:-cut])
        assert numbers(Spool(spools.live.folder)) == [1, 2]
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    segment.write_bytes(flipped)
    torn = Spools(tmp_path, 4 * MIB).old[0]
    assert (numbers(torn), torn.waiting) == ([1, 2], 2)


def test_a_full_disk_is_said_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spools = Spools(tmp_path, 4 * MIB)
    spools.append(batch(1))
    with monkeypatch.context() as patch:
        patch.setattr("gswarm.client.sampling.spool.os.write", lambda fd, data: len(data) // 2)
        with pytest.raises(StorageError, match="no room"):
            spools.append(batch(2, 7))
    assert spools.lost_rows == 7
    spools.append(batch(3))
    assert numbers(spools.live) == [1, 2]


def test_an_empty_spool_leaves_no_folder_behind(tmp_path: Path) -> None:
    for _ in range(3):
        Spools(tmp_path, 4 * MIB)
    assert len(list(tmp_path.iterdir())) == 1
