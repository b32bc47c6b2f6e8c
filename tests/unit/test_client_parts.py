"""The small parts of a client: watchdog, metric buffer, log file, snapshot folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gswarm.client.metrics import BATCH_ROWS, MetricBuffer
from gswarm.client.snapshots import SnapshotDirs
from gswarm.client.trainer_log import TAIL_BYTES, CappedLog
from gswarm.client.trainer_process import Deadlines, Watchdog
from gswarm.domain.ids import Digest, RunId
from gswarm.domain.messages import LogLine, StepMetrics
from gswarm.domain.spec import RunSpec
from gswarm.training import protocol as p

R1 = RunId("r1")
D = Deadlines(start_s=10, setup_s=100, step_min_s=5, step_factor=20, evaluation_s=1000)


def train(generation: int = 1, **changes: Any) -> p.TrainRange:
    values: dict[str, Any] = {
        "run": R1, "generation": generation, "from_step": 0, "to_step": 3, "total_steps": 3, "steps_per_epoch": 3,
        "spec": RunSpec("m", "d"), "base_digest": Digest("b" * 64), "base_dir": "/b", "data_dir": "/d", "checkpoint_dir": None,
        "warm_start": False, "first_step": 0, "snapshot_dir": "/s",
    }  # fmt: skip
    return p.TrainRange(**{**values, **changes})


def step(number: int, took_s: float = 0.1, generation: int = 1) -> p.StepDone:
    return p.StepDone(R1, generation, number, 0.0, (("step_time_s", took_s),))


def test_the_watchdog_waits_as_long_as_each_part_may_take() -> None:
    dog = Watchdog(D)
    assert dog.allowed_s == 10
    dog.heard(p.Ready(1, "cpu"))
    assert dog.allowed_s is None
    dog.sent(train())
    assert dog.allowed_s == 100
    dog.heard(p.RangeStarted(R1, 1, False, 1.0))
    dog.heard(step(1))
    assert dog.allowed_s == 5
    dog.heard(step(2, took_s=3.0))
    assert dog.allowed_s == 60
    dog.heard(step(3))
    assert dog.allowed_s == 1000
    dog.heard(p.RangeTrained(R1, 1, 3, "/s", Digest("a" * 64), (), None, 0))
    assert dog.allowed_s is None


def test_a_second_range_does_not_lengthen_the_wait_and_an_abort_ends_it() -> None:
    dog = Watchdog(D)
    dog.heard(p.Ready(1, "cpu"))
    dog.sent(train(1))
    dog.heard(step(1))
    assert not dog.sent(train(2))
    assert dog.allowed_s == 5
    dog.sent(p.AbortRange(R1, 1))
    assert dog.allowed_s == 100
    dog.sent(p.AbortRange(R1, 2))
    assert dog.allowed_s is None


def test_a_stopped_range_may_evaluate_after_any_step() -> None:
    dog = Watchdog(D)
    dog.heard(p.Ready(1, "cpu"))
    dog.sent(train())
    dog.heard(step(1))
    dog.sent(p.StopRange(R1, 1))
    assert dog.allowed_s == 1000
    dog.heard(step(2))
    assert dog.allowed_s == 1000


def row(number: int) -> StepMetrics:
    return StepMetrics(R1, 1, number, 0.0, (("loss", 1.0),))


def line(text: str = "x") -> LogLine:
    return LogLine(R1, 0.0, "info", text)


def test_batches_are_kept_until_they_are_stored() -> None:
    buffer = MetricBuffer()
    for number in range(BATCH_ROWS + 10):
        buffer.add_step(row(number))
    buffer.add_log(line())
    first, second = buffer.take(), buffer.take()
    assert first is not None
    assert second is not None
    assert (len(first.steps), len(second.steps), len(second.logs)) == (BATCH_ROWS, 10, 1)
    assert buffer.take() is None
    assert buffer.unacked() == [first, second]
    buffer.acked(first.seq)
    assert buffer.unacked() == [second]
    buffer.acked(second.seq)
    buffer.acked(99)
    assert buffer.is_empty


def test_a_full_buffer_drops_old_logs_first_then_old_metrics() -> None:
    buffer = MetricBuffer(rows_max=3)
    buffer.add_step(row(1))
    buffer.add_log(line("old"))
    buffer.add_step(row(2))
    buffer.add_step(row(3))
    buffer.add_step(row(4))
    assert buffer.dropped == 2
    batch = buffer.take()
    assert batch is not None
    assert [step.step for step in batch.steps] == [2, 3, 4]
    assert not batch.logs
    buffer.add_step(row(5))
    assert buffer.unacked() == []
    assert buffer.waiting == 1


def test_long_log_lines_are_cut() -> None:
    buffer = MetricBuffer()
    buffer.add_log(line("y" * 100_000))
    batch = buffer.take()
    assert batch is not None
    assert len(batch.logs[0].text) == 4000


def test_a_log_file_stays_small_and_keeps_its_tail(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "logs/slot-0.log", bytes_max=1000)
    for number in range(1000):
        log.write(f"line {number}\n".encode())
    log.close()
    assert sum(path.stat().st_size for path in (tmp_path / "logs").iterdir()) <= 2000
    assert log.tail().endswith("line 999\n")
    assert len(log.tail()) <= TAIL_BYTES


def test_snapshots_lie_in_shared_memory_while_there_is_room(tmp_path: Path) -> None:
    shm, data = tmp_path / "shm", tmp_path / "data"
    shm.mkdir(), data.mkdir()
    dirs = SnapshotDirs(data, shm)
    small, huge = dirs.make(R1, 1, 0), dirs.make(R1, 2, 1 << 60)
    assert small.is_relative_to(shm)
    assert huge.is_relative_to(data)
    dirs.discard("/somewhere/else")
    dirs.remove(R1, 1)
    dirs.discard(str(huge))
    assert not small.exists()
    assert not huge.exists()
    dirs.close()
    assert not list(shm.iterdir())


def test_snapshots_of_dead_clients_are_swept_and_those_of_live_ones_spared(tmp_path: Path) -> None:
    shm, data, other = tmp_path / "shm", tmp_path / "data", tmp_path / "other"
    for folder in (shm, data, other):
        folder.mkdir()
    live = SnapshotDirs(other, shm)
    kept = live.make(R1, 1, 0)
    dead = shm / "gswarm-dead"
    dead.mkdir()
    (dead / "lock").touch()
    SnapshotDirs(data, shm).close()
    assert not dead.exists()
    assert kept.exists()
    live.close()


def test_without_shared_memory_the_disk_serves(tmp_path: Path) -> None:
    dirs = SnapshotDirs(tmp_path, tmp_path / "absent")
    assert dirs.make(R1, 1, 0).is_relative_to(tmp_path / "snapshots")
    dirs.close()
