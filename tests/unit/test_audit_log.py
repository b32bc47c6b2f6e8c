"""The audit log: what it keeps, what it leaves out, and what happens when the disk is full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gswarm.domain.errors import StorageError
from gswarm.domain.messages import LogLine
from gswarm.host.access import audit as audit_module
from gswarm.host.access.audit import AuditKind, AuditLog, Outcome, Record
from gswarm.profiler.run_logs import RunLogStore


@dataclass
class Time:
    time_s: float = 1_000.0

    def __call__(self) -> float:
        return self.time_s


RECORD = Record(1_000.0, "operator:ab", "token", "10.0.0.1", "POST", "/api/v1/runs/r1/stop", Outcome.DONE, 200)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
async def log(tmp_path: Path, clock: Time) -> AsyncIterator[AuditLog]:
    made = AuditLog(tmp_path / "audit", clock)
    yield made
    made.close()


async def writes(log: AuditLog) -> list[Record]:
    return [record for _, record in reversed(await log.read(AuditKind.WRITES, 100))]


async def test_records_are_read_newest_first_page_by_page_and_after_a_restart(tmp_path: Path, log: AuditLog, clock: Time) -> None:
    for number in range(5):
        await log.write(replace(RECORD, detail=f"made r{number}"))
    first = await log.read(AuditKind.WRITES, 2)
    second = await log.read(AuditKind.WRITES, 2, first[-1][0])
    third = await log.read(AuditKind.WRITES, 2, second[-1][0])
    assert [number for number, _ in (*first, *second, *third)] == [5, 4, 3, 2, 1]
    assert await log.read(AuditKind.WRITES, 2, 1) == []
    assert first[0][1] == replace(RECORD, detail="made r4")
    assert await log.read(AuditKind.REFUSALS, 2) == []
    again = AuditLog(tmp_path / "audit", clock)
    assert await again.read(AuditKind.WRITES, 100) == [*first, *second, *third]
    again.close()


async def test_a_repeated_request_is_recorded_once_as_such(log: AuditLog) -> None:
    for was_known in (False, True, True, True):
        await log.write(RECORD, "key-1", was_known)
    await log.write(RECORD, "key-2", was_known=True)  # from before the host's restart
    await log.write(RECORD, "key-2", was_known=True)
    await log.write(RECORD)
    await log.write(RECORD)
    await log.write(replace(RECORD, outcome=Outcome.REFUSED, status=409), "key-3")
    await log.write(RECORD, "key-3")
    assert [record.outcome.value for record in await writes(log)] == [
        "done", "repeated", "repeated", "done", "done", "refused", "done",
    ]  # fmt: skip


async def test_a_key_that_the_plan_has_forgotten_is_recorded_like_a_new_one(log: AuditLog) -> None:
    delete = replace(RECORD, method="DELETE", path="/api/v1/runs/r2")
    await log.write(RECORD, "key")
    for was_known in (True, True):
        await log.write(RECORD, "key", was_known)
    for was_known in (False, True, True):
        await log.write(delete, "key", was_known)
    assert [(record.method, record.outcome.value) for record in await writes(log)] == [
        ("POST", "done"), ("POST", "repeated"), ("DELETE", "done"), ("DELETE", "repeated"),
    ]  # fmt: skip


async def test_the_memory_of_keys_is_bounded(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "KEYS_REMEMBERED_MAX", 3)
    for number in range(10):
        await log.write(RECORD, f"key-{number}", was_known=True)
    assert len(log._repeats) == 3


async def test_secrets_and_control_characters_are_left_out(tmp_path: Path, log: AuditLog) -> None:
    path = "/api/v1/tokens/gswt-abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst"
    await log.write(replace(RECORD, path=path + "\x1b[31m\n", detail="GSW1-ABC234 \u202e", method="X" * 100))
    await log.refuse(replace(RECORD, path="/" + "\U0001f600" * 5_000))
    (record,) = await writes(log)
    assert (record.path, record.detail) == ("/api/v1/tokens/(a token)[31m", "(a token) ")
    assert len(record.method) == audit_module.METHOD_CHARS_MAX
    (refused,) = [record for _, record in await log.read(AuditKind.REFUSALS, 10)]
    assert len(refused.path) == audit_module.PATH_CHARS_MAX
    files = b"".join(file.read_bytes() for file in (tmp_path / "audit").iterdir())
    assert b"abcdefg" not in files
    assert b"ABC234" not in files


async def test_strangers_who_knock_are_recorded_at_a_bounded_rate_and_push_out_nothing(log: AuditLog, clock: Time) -> None:
    await log.write(RECORD)
    for _ in range(audit_module.REFUSALS_BURST + 50):
        await log.refuse(replace(RECORD, outcome=Outcome.REFUSED, status=401))
    clock.time_s += 1.0
    await log.refuse(replace(RECORD, outcome=Outcome.REFUSED, status=403))
    found = await log.read(AuditKind.REFUSALS, 1_000)
    assert len(found) == audit_module.REFUSALS_BURST + 1
    assert (found[0][1].status, found[0][1].unrecorded) == (403, 50)
    assert await writes(log) == [RECORD]


async def test_the_files_are_bounded(tmp_path: Path, clock: Time) -> None:
    log = AuditLog(tmp_path / "small", clock, file_bytes_max=2_000)
    for number in range(200):
        await log.write(replace(RECORD, detail=str(number)))
    assert sum(file.stat().st_size for file in (tmp_path / "small").iterdir()) < 5_000
    newest = await log.read(AuditKind.WRITES, 3)
    assert [(number, record.detail) for number, record in newest] == [(200, "199"), (199, "198"), (198, "197")]
    log.close()


async def test_without_room_for_its_record_nothing_more_is_changed(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    real, is_full = RunLogStore.append, False

    def append(store: RunLogStore, lines: Sequence[LogLine]) -> None:
        if is_full:
            raise StorageError("no space left on device")
        real(store, lines)

    monkeypatch.setattr(RunLogStore, "append", append)
    await log.require_writable()
    is_full = True
    await log.write(RECORD)  # this one is done already, and is answered
    await log.write(RECORD)
    for _ in range(3):
        with pytest.raises(StorageError, match="nothing may be changed"):
            await log.require_writable()
    is_full = False
    await log.require_writable()
    await log.write(RECORD)
    assert [(record.outcome.value, record.unrecorded) for record in await writes(log)] == [("unrecorded", 2), ("done", 0)]


async def test_refusals_that_cannot_be_recorded_do_not_stop_writes(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def append(_store: RunLogStore, _lines: Sequence[LogLine]) -> None:
        raise StorageError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RunLogStore, "append", append)
        await log.refuse(RECORD)
    await log.require_writable()
    await log.refuse(RECORD)
    assert [record.unrecorded for _, record in await log.read(AuditKind.REFUSALS, 10)] == [1]
