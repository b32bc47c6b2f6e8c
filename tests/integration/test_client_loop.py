"""A client's whole life against a scripted host: real sessions, blobs and processes; only the training is pretended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest
from client_rig import rig

from gswarm.client.trainer_process import Deadlines
from gswarm.datapool.manifest import load_manifest, missing
from gswarm.domain.errors import ConflictError, IncompatibleVersionError, UnavailableError
from gswarm.domain.ids import RunId
from gswarm.domain.messages import (
    ChunkCommittedReport,
    ChunkFailedReport,
    ChunkTrainedReport,
    Goodbye,
    GrantReturnedReport,
    Heartbeat,
    HeldGrantInfo,
    RevokeOrder,
    Shutdown,
    StopOrder,
)
from gswarm.domain.spec import RunSpec
from gswarm.wire.server import start_server

pytestmark = pytest.mark.e2e


async def test_a_grant_is_trained_stored_pushed_and_committed(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running():
        r.host.say(r.grant("r1", 0, 5), r.grant("r1", 5, 10))
        first, second = await r.host.hear(ChunkCommittedReport, 2)
        assert [first.checkpoint.step, second.checkpoint.step] == [5, 10]
        assert first.checkpoint.holders == ("a", "host")
        assert first.checkpoint.metric("eval_loss") == pytest.approx(0.2)
        assert not missing(r.host.store, second.checkpoint.manifest)
        names = [entry.name for entry in load_manifest(r.host.store, second.checkpoint.manifest).entries]
        assert names == ["state.json", "weights.safetensors"]
        await r.host.until(lambda: {row.step for row in r.host.metrics_rows} == set(range(1, 11)))
    assert not list((tmp_path / "data/clients/a/snapshots").iterdir())


async def test_runs_take_turns_and_continue_hot_or_from_their_checkpoints(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running():
        r.host.say(r.grant("r1", 0, 5), r.grant("r2", 0, 5))
        commits = {report.run: report.checkpoint for report in await r.host.hear(ChunkCommittedReport, 2)}
        r.host.say(r.grant("r1", 5, 10, checkpoint=commits[RunId("r1")]), r.grant("r1", 10, 15))
        r.host.say(r.grant("r2", 5, 10, checkpoint=commits[RunId("r2")], spec=RunSpec("m", "ok", bf16=True)))
        steps = [(report.run, report.checkpoint.step) for report in await r.host.hear(ChunkCommittedReport, 5)]
        assert sorted(steps) == [("r1", 5), ("r1", 10), ("r1", 15), ("r2", 5), ("r2", 10)]


async def test_a_run_that_was_let_go_of_continues_from_the_clients_own_checkpoint(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running():
        r.host.say(r.grant("r1", 0, 5, does="evict"), r.grant("r1", 5, 10, does="evict"))
        assert [report.checkpoint.step for report in await r.host.hear(ChunkCommittedReport, 2)] == [5, 10]
        assert not r.host.all(ChunkFailedReport)


async def test_a_stop_takes_effect_at_the_next_step_and_the_lookahead_comes_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running():
        r.host.say(r.grant("r1", 0, 90, does="slow"), r.grant("r1", 90, 100, does="slow"))
        await r.host.until(lambda: any(row.step >= 3 for row in r.host.metrics_rows))
        r.host.say(StopOrder(RunId("r1"), 1), StopOrder(RunId("r1"), 2))
        [returned] = await r.host.hear(GrantReturnedReport)
        [commit] = await r.host.hear(ChunkCommittedReport)
        assert returned.generation == 2
        assert 3 <= commit.checkpoint.step < 60


async def test_a_dead_trainer_fails_its_grant_and_the_others_go_on_in_a_new_process(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running():
        r.host.say(r.grant("r1", 0, 5, does="die@3"), r.grant("r2", 0, 5))
        [failed] = await r.host.hear(ChunkFailedReport)
        assert (failed.run, failed.failure.code, failed.failure.machine_suspect) == ("r1", "trainer_died", True)
        assert "SIGKILL" in failed.failure.message
        assert "about to die" in failed.failure.log_tail
        [commit] = await r.host.hear(ChunkCommittedReport)
        assert commit.run == "r2"


async def test_a_hung_trainer_is_killed_and_reported(tmp_path: Path) -> None:
    deadlines = Deadlines(step_min_s=0.5, step_factor=1.0)
    async with rig(tmp_path, deadlines) as r, r.running():
        r.host.say(r.grant("r1", 0, 5, does="hang@2"))
        [failed] = await r.host.hear(ChunkFailedReport)
        assert failed.failure.code == "trainer_hung"
        assert "step after 2" in failed.failure.message


async def test_a_failed_range_is_reported_and_the_process_goes_on(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running() as (client, _):
        r.host.say(r.grant("r1", 0, 5, does="nan@2"), r.grant("r2", 0, 5))
        [failed] = await r.host.hear(ChunkFailedReport)
        assert failed.failure.code == "nan_loss"
        await r.host.hear(ChunkCommittedReport)
        assert client.loop is not None
        assert [slot.epoch for slot in client.loop.agent.book.slots.values()] == [1]


async def test_training_goes_on_without_the_host_and_reports_are_sent_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running(resilient=True):
        r.host.is_mute = True
        r.host.say(r.grant("r1", 0, 5), r.grant("r1", 5, 10))
        await r.host.hear(ChunkTrainedReport, 2)
        r.host.say(UnavailableError("the test cuts the session"))
        r.host.is_mute = False
        await r.host.connected(2)
        assert {(info.run, info.generation) for info in r.host.registers[1].held} == {("r1", 1), ("r1", 2)}
        assert r.host.registers[0].incarnation == r.host.registers[1].incarnation
        commits = await r.host.hear(ChunkCommittedReport, 2)
        assert [commit.checkpoint.step for commit in commits] == [5, 10]


async def test_a_restarted_host_is_found_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running(resilient=True):
        r.host.say(r.grant("r1", 0, 40, does="slow"))
        await r.host.until(lambda: bool(r.host.metrics_rows))
        port = r.server.port
        await r.server.stop(0)
        await asyncio.sleep(0.5)
        r.server = await start_server(r.host, "127.0.0.1", port, None)
        [commit] = await r.host.hear(ChunkCommittedReport)
        assert commit.checkpoint.step == 40


async def test_an_incomplete_copy_is_pushed_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running() as (client, _):
        assert client.loop is not None
        push = client.loop.parts.pool.push
        pushed: list[str] = []

        async def lossy(digest: str) -> None:
            pushed.append(digest)
            if len(pushed) > 1:
                await push(digest)  # type: ignore[arg-type]

        client.loop.parts.pool.push = lossy  # type: ignore[method-assign]
        r.host.say(r.grant("r1", 0, 5))
        reports = await r.host.hear(ChunkCommittedReport, 2)
        assert reports[0].checkpoint == reports[1].checkpoint
        await r.host.until(lambda: not missing(r.host.store, reports[1].checkpoint.manifest))


async def test_a_fenced_report_is_forgotten_with_the_runs_memory(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running() as (client, _):
        assert client.loop is not None
        r.host.refuse_reports = "fenced"
        r.host.say(r.grant("r1", 0, 5))
        await r.host.hear(ChunkTrainedReport)
        r.host.refuse_reports = ""
        r.host.say(r.grant("r2", 0, 5))
        [commit] = await r.host.hear(ChunkCommittedReport)
        assert commit.run == "r2"
        assert client.loop.agent.held() in ((), (HeldGrantInfo(RunId("r2"), 1),))
        assert RunId("r1") not in client.loop.agent.book.slots[0].hot


async def test_a_revoked_grant_ends_without_a_word(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running():
        r.host.say(r.grant("r1", 0, 90, does="slow"))
        await r.host.until(lambda: bool(r.host.metrics_rows))
        r.host.say(RevokeOrder(RunId("r1"), 1), r.grant("r2", 0, 5))
        [commit] = await r.host.hear(ChunkCommittedReport)
        assert commit.run == "r2"
        assert not [m for m in r.host.heard if getattr(m, "run", None) == "r1"]


async def test_inputs_that_nobody_has_fail_the_grant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.client.pool.ABSENT_TRIES", 2)
    async with rig(tmp_path) as r, r.running():
        r.host.say(r.grant("r1", 0, 5, base="0" * 64))
        [failed] = await r.host.hear(ChunkFailedReport)
        assert failed.failure.code == "not_found"


@pytest.mark.parametrize("by_host", [True, False])
async def test_leaving_stops_hands_in_and_says_goodbye(tmp_path: Path, by_host: bool) -> None:
    async with rig(tmp_path) as r, r.running() as (client, task):
        r.host.say(r.grant("r1", 0, 90, does="slow"), r.grant("r2", 0, 90))
        await r.host.until(lambda: any(row.step >= 2 for row in r.host.metrics_rows))
        if by_host:
            r.host.say(Shutdown("drained"))
        else:
            client.stop("drained")
        await asyncio.wait_for(task, 20)
        [commit] = r.host.all(ChunkCommittedReport)
        [returned] = r.host.all(GrantReturnedReport)
        assert (commit.run, returned.run) == ("r1", "r2")
        assert r.host.heard[-1] == Goodbye("drained")
        assert max(row.step for row in r.host.metrics_rows) == commit.checkpoint.step


async def test_heartbeats_come_three_times_a_lease(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.host.lease_timeout_s = 0.6
        async with r.running():
            await r.host.hear(Heartbeat, 3)


async def test_no_process_is_left_behind(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    async with rig(tmp_path) as r:
        async with r.running() as (client, _):
            r.host.say(r.grant("r1", 0, 90, does="slow+child"))
            await r.host.until(lambda: bool(r.host.metrics_rows))
            assert client.loop is not None
            [pid] = client.loop.parts.trainers.pids.values()
            grandchildren = [child.pid for child in psutil.Process(pid).children()]
            assert grandchildren
        left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
        assert not [child for child in left if child.status() != psutil.STATUS_ZOMBIE]
        assert not psutil.pid_exists(pid)
        async with asyncio.timeout(10):  # they are killed; when they die is the kernel's business
            while any(map(_runs, grandchildren)):
                await asyncio.sleep(0.01)


async def test_a_refused_registration_ends_the_client_with_the_hosts_reason(tmp_path: Path) -> None:
    for error in (ConflictError("a client a is connected already"), IncompatibleVersionError("the host has 9.9.9")):
        async with rig(tmp_path / type(error).__name__) as r:
            r.host.refuse = error
            with pytest.raises(type(error), match=error.message):
                await asyncio.wait_for(r.client().run(), 20)


async def test_a_host_that_stays_away_ends_a_client_that_is_not_resilient(tmp_path: Path) -> None:
    async with rig(tmp_path, give_up_s=0.5) as r:
        await r.server.stop(0)
        with pytest.raises(UnavailableError) as raised:
            await asyncio.wait_for(r.client().run(), 30)
        assert raised.value.exit_code == 3


async def test_two_clients_of_one_name_on_one_machine(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running():
        with pytest.raises(ConflictError, match="runs on this machine already"):
            await r.client().run()


async def test_a_local_checkpoint_is_not_pushed(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, r.running():
        r.host.checks_copies = False
        r.host.say(r.grant("r1", 0, 5, durability="local"))
        [commit] = await r.host.hear(ChunkCommittedReport)
        assert commit.checkpoint.holders == ("a",)
        assert missing(r.host.store, commit.checkpoint.manifest) == [commit.checkpoint.manifest]


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
