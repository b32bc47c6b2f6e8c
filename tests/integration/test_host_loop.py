"""The single writer: order, group commit, refusals, failure, subscribers, and kill -9."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from host_support import every_event, fingerprint, plan_host, registered, submitted

from gswarm.domain.errors import (
    ConflictError,
    GswarmError,
    InvalidInputError,
    InvariantError,
    LimitError,
    NotFoundError,
    StorageError,
    UnavailableError,
)
from gswarm.domain.ids import ClientName, RequestId, RunId
from gswarm.domain.plan import RunOp
from gswarm.host.journal.snapshot import open_state
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.host.loop import READ_PAGE_ENTRIES, RECENT_ENTRIES
from gswarm.scheduler.effects import Effect, SendJob
from gswarm.scheduler.events import ChunkTrained, ClientDrainRequested, ClientLost, RunOpRequested


def drain(client: str = "a", on: bool = True) -> ClientDrainRequested:
    return ClientDrainRequested(ClientName(client), on)


async def test_an_event_is_on_disk_before_its_effects_and_its_answer(tmp_path: Path) -> None:
    seen: list[int] = []

    def on_effects(effects: Sequence[Effect]) -> None:
        if any(isinstance(effect, SendJob) for effect in effects):
            seen.append(SqliteJournal(tmp_path / "journal.db").last_seq)

    async with plan_host(tmp_path, on_effects) as host:
        await host.submit(registered("a"))
        done = await host.submit(submitted())
        assert (done.seq, done.result_id) == (2, "e1")
        assert seen == [2]


async def test_concurrent_events_share_flushes(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        await host.submit(registered("a"))
        answers = await asyncio.gather(*(host.loop.submit(drain(on=bool(number % 2))) for number in range(1_000)))
        assert [answer.seq for answer in answers] == list(range(2, 1_002))
        assert host.loop.events == 1_001
        assert host.loop.flushes < 20
        assert [entry.seq for entry in host.journal.read()] == list(range(1, 1_002))


async def test_events_that_arrive_during_a_flush_share_the_next_one(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        entered, go_on = threading.Event(), threading.Event()
        append = host.journal.append

        def slow(entries):  # type: ignore[no-untyped-def]
            entered.set()
            go_on.wait(10)
            return append(entries)

        host.journal.append = slow  # type: ignore[method-assign]
        first = asyncio.create_task(host.loop.submit(registered("a")))
        await asyncio.to_thread(entered.wait, 10)
        others = [asyncio.create_task(host.loop.submit(drain(on=bool(number % 2)))) for number in range(50)]
        await asyncio.sleep(0)
        assert not first.done()
        go_on.set()
        await asyncio.gather(first, *others)
        assert host.loop.flushes == 2


async def test_a_flush_waits_for_nobody_who_only_reads(tmp_path: Path) -> None:
    readers, may_end = ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(readers)
    async with plan_host(tmp_path) as host:
        reading = asyncio.create_task(asyncio.to_thread(may_end.wait))
        try:
            await asyncio.wait_for(host.submit(registered("a")), 20)
        finally:
            may_end.set()
            await reading


async def test_a_refused_event_changes_nothing_and_is_not_journaled(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        await host.submit(registered("a"))
        before = fingerprint(host.state)
        good, bad, worse = await asyncio.gather(
            host.loop.submit(drain()),
            host.loop.submit(drain("nobody")),
            host.loop.submit(ChunkTrained(ClientName("a"), RunId("r9"), 1, 5)),
            return_exceptions=True,
        )
        assert not isinstance(good, BaseException)
        assert isinstance(bad, NotFoundError)
        assert isinstance(worse, GswarmError)
        await host.submit(drain(on=False))
        assert host.loop.seq == host.journal.last_seq == 3
        assert fingerprint(host.state) == before


async def test_a_request_said_twice_is_one(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        await host.submit(registered("a"))
        both = await asyncio.gather(host.loop.submit(submitted("q1")), host.loop.submit(submitted("q1")))
        assert [answer.result_id for answer in both] == ["e1", "e1"]
        assert host.loop.seq == 2
        with pytest.raises(ConflictError, match="something else"):
            await host.submit(submitted("q1", name="other"))
    async with plan_host(tmp_path) as host:
        assert (await host.submit(submitted("q1"))).result_id == "e1"
        assert host.loop.seq == 2


async def test_what_cannot_be_journaled_is_refused_before_it_counts(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        await host.submit(registered("a"), submitted())
        await host.prepare()
        grant = next(grant for run in host.state.runs.values() for grant in run.grants)
        before = fingerprint(host.state)
        with pytest.raises(InvalidInputError, match="cannot be journaled"):
            await host.submit(ChunkTrained(grant.client, grant.run, grant.generation, float("nan")))  # type: ignore[arg-type]
        assert fingerprint(host.state) == before


async def test_time_never_goes_back(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        await host.submit(registered("a"))
        host.time.time_s -= 500
        await host.loop.submit(drain())
        assert [entry.now_s for entry in host.journal.read()] == [1_001.0, 1_001.0]


async def test_time_never_goes_back_over_a_restart(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        host.time.time_s = 9_000.0
        await host.loop.submit(registered("a"))
    async with plan_host(tmp_path) as host:
        host.time.time_s = 10.0
        await host.loop.submit(drain())
        assert [entry.now_s for entry in host.journal.read()] == [9_000.0, 9_000.0]


async def test_the_queue_is_bounded_but_the_hosts_own_events_pass(tmp_path: Path) -> None:
    async with plan_host(tmp_path, queue_max=3) as host:
        tasks = [asyncio.create_task(host.loop.submit(registered(f"c{number}"))) for number in range(5)]
        own = asyncio.create_task(host.loop.submit_own(registered("own")))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results[3:]] == [LimitError, LimitError]
        await own
        assert list(host.state.clients) == ["c0", "c1", "c2", "own"]


async def test_when_the_disk_fails_nobody_is_told_success_and_the_loop_ends(tmp_path: Path) -> None:
    seen: list[Effect] = []
    async with plan_host(tmp_path, seen.extend) as host:
        await host.submit(registered("a"))
        pages = host.journal._db.execute("PRAGMA page_count").fetchone()[0]
        host.journal._db.execute(f"PRAGMA max_page_count = {pages}")
        waiting = [host.loop.submit(submitted(f"q{number}", runs=300, name=f"exp-{number}")) for number in range(5)]
        results = await asyncio.gather(*waiting, host.loop.submit(drain("nobody")), host.loop.at_rest(dict), return_exceptions=True)
        assert {type(result) for result in results} == {StorageError}
        assert isinstance(await host.loop.failed, StorageError)
        assert seen == []
        with pytest.raises(StorageError):
            await host.loop.submit(drain())
    state, seq = open_state(SqliteJournal(tmp_path / "journal.db"))
    assert seq == 1
    assert state.experiments == {}


@pytest.mark.parametrize("error", [InvariantError("impossible"), KeyError("a bug")])
async def test_a_broken_core_ends_the_loop_and_answers_everyone(tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async with plan_host(tmp_path) as host:
        await host.submit(registered("a"))

        def broken(event: object, now_s: float) -> list[Effect]:
            raise error

        monkeypatch.setattr(host.state, "step", broken)
        results = await asyncio.gather(*(host.loop.submit(drain()) for _ in range(3)), return_exceptions=True)
        assert {type(result) for result in results} == {StorageError}
        assert isinstance(await host.loop.failed, InvariantError)


async def test_closing_finishes_what_was_submitted_and_takes_no_more(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        tasks = [asyncio.create_task(host.loop.submit(registered(f"c{number}"))) for number in range(20)]
        await asyncio.sleep(0)
        await host.loop.close()
        assert all(task.done() and task.exception() is None for task in tasks)
        with pytest.raises(UnavailableError):
            await host.loop.submit(drain())
        with pytest.raises(UnavailableError):
            await host.loop.at_rest(dict)
    snapshots = list((tmp_path / "snapshots").iterdir())
    assert [path.name for path in snapshots] == ["0000000000000020.snapshot"]


async def test_a_look_at_rest_sees_state_and_disk_equal(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        tasks = []
        for number in range(200):
            tasks.append(asyncio.create_task(host.loop.submit(registered(f"c{number}"))))
            if number % 7 == 0:
                tasks.append(asyncio.create_task(host.loop.at_rest(lambda: (len(host.state.clients), host.journal.last_seq))))  # type: ignore[arg-type]
        for result in await asyncio.gather(*tasks):
            if isinstance(result, tuple):
                assert result[0] == result[1] > 0


async def test_a_look_that_raises_hurts_only_its_caller(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        with pytest.raises(ZeroDivisionError):
            await host.loop.at_rest(lambda: 1 // 0)
        await host.submit(registered("a"))


async def test_a_cancelled_caller_does_not_stop_the_loop(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        task = asyncio.create_task(host.loop.submit(registered("a")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await host.submit(drain())).seq == 2


async def test_without_room_for_a_snapshot_the_host_goes_on(tmp_path: Path) -> None:
    async with plan_host(tmp_path, snapshot_every_events=5) as host:
        shutil.rmtree(tmp_path / "snapshots")
        for number in range(12):
            await host.submit(registered(f"c{number}"))
        assert host.loop.seq == 12
    assert open_state(SqliteJournal(tmp_path / "journal.db"))[1] == 12


# ---- subscribers -------------------------------------------------------------------------------------------------------


async def test_a_subscriber_misses_nothing_between_past_and_present(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        count = RECENT_ENTRIES + 2 * READ_PAGE_ENTRIES
        await host.submit(registered("a"))
        await asyncio.gather(*(host.loop.submit(drain(on=bool(number % 2))) for number in range(count)))
        seen: list[int] = []

        async def follow() -> None:
            seen.extend([entry.seq async for entry in host.loop.subscribe(3)])

        follower = asyncio.create_task(follow())
        for number in range(300):
            await host.loop.submit(drain(on=bool(number % 2)))
        last = host.loop.seq
        await host.loop.close()
        await follower
        assert seen == list(range(4, last + 1))


async def test_a_slow_subscriber_costs_nothing_and_gets_everything(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        await host.submit(registered("a"))
        stream = host.loop.subscribe(0)
        assert (await anext(stream)).seq == 1
        await asyncio.gather(*(host.loop.submit(drain(on=bool(number % 2))) for number in range(3 * RECENT_ENTRIES)))
        for expected in range(2, 3 * RECENT_ENTRIES + 2):
            assert (await anext(stream)).seq == expected


async def test_a_subscriber_waits_for_the_next_event(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        await host.submit(registered("a"))
        stream = host.loop.subscribe(1)
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.01)
        assert not following.done()
        await host.submit(drain())
        assert (await following).event == drain()


async def test_subscribing_to_the_future_or_too_often_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.host.loop.SUBSCRIBERS_MAX", 2)
    async with plan_host(tmp_path) as host:
        await host.submit(registered("a"))
        for after_seq in (2, -1):
            with pytest.raises(InvalidInputError):
                await anext(host.loop.subscribe(after_seq))
        streams = [host.loop.subscribe(0) for _ in range(2)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(LimitError):
            await anext(host.loop.subscribe(0))
        await streams[0].aclose()  # type: ignore[attr-defined]
        await anext(host.loop.subscribe(0))


# ---- kill -9 -----------------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from host_support import plan_host, registered, fingerprint
from gswarm.scheduler.events import ClientDrainRequested
from gswarm.domain.ids import ClientName

async def main():
    async with plan_host(Path(sys.argv[1]), snapshot_every_events=40) as host:
        start = host.loop.seq
        if "a" not in host.state.clients:
            await host.submit(registered("a"))
        async def submit(number):
            while True:
                done = await host.loop.submit(ClientDrainRequested(ClientName("a"), bool(number % 2), f"{number}-{start}"))
                sys.stdout.write(f"{done.seq} {number}-{start}\\n")
                sys.stdout.flush()
        await asyncio.gather(*(submit(number) for number in range(4)))

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    acknowledged: dict[int, str] = {}
    for round_number in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        )
        assert process.stdout is not None
        for _ in range(60 + 37 * round_number):
            seq, by = process.stdout.readline().split()
            acknowledged[int(seq)] = by
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            if line.endswith("\n"):
                seq, by = line.split()
                acknowledged[int(seq)] = by
        process.wait()
        process.stdout.close()
        journal = SqliteJournal(tmp_path / "journal.db")
        kept = {entry.seq: entry.event for entry in journal.read()}
        for number, said_by in acknowledged.items():
            event = kept[number]
            assert isinstance(event, ClientDrainRequested)
            assert event.by == said_by
        state, _seq = open_state(journal)
        journal.close()
        shutil.copytree(tmp_path, tmp_path / "copy")
        shutil.rmtree(tmp_path / "copy" / "snapshots")
        replayed = SqliteJournal(tmp_path / "copy" / "journal.db")
        assert fingerprint(open_state(replayed)[0]) == fingerprint(state)
        replayed.close()
        shutil.rmtree(tmp_path / "copy")
    assert len(acknowledged) >= 400


async def test_a_plan_continues_over_restarts(tmp_path: Path) -> None:
    async with plan_host(tmp_path) as host:
        await every_event(host)
        live = fingerprint(host.state)
    async with plan_host(tmp_path) as host:
        assert fingerprint(host.state) == live
        await host.submit(registered("a", "i9"), RunOpRequested(RequestId("again"), RunId("r2"), RunOp.RESUME))
        await host.submit(ClientLost(ClientName("a"), "gone"))
        live = fingerprint(host.state)
    assert fingerprint(open_state(SqliteJournal(tmp_path / "journal.db"))[0]) == live
