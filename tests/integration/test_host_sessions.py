"""Clients that come, report, fall silent, come back, and lie."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from host_rig import LEASE_TIMEOUT_S, FakeClient, Rig, metrics, rig
from host_support import checkpoint, digest, run_size, submitted

from gswarm.datapool.sweep import GRACE_S
from gswarm.domain.errors import ConflictError, GswarmError, LimitError, NotFoundError, UnavailableError
from gswarm.domain.ids import HOST_HOLDER, ClientName, Digest, RequestId, RunId
from gswarm.domain.messages import (
    Ack,
    ChunkCommittedReport,
    ChunkFailedReport,
    ChunkTrainedReport,
    Goodbye,
    GrantOrder,
    GrantReturnedReport,
    Heartbeat,
    HeldGrantInfo,
    JobOrder,
    JobReport,
    LogLine,
    MetricBatch,
    Register,
    Registered,
    RevokeOrder,
    Shutdown,
    StopOrder,
    SweepOrder,
)
from gswarm.domain.plan import ClientState, Failure, JobKind, RunOp, RunState
from gswarm.domain.spec import Durability, RunSpec
from gswarm.scheduler.events import JobRequested, RunCloneRequested, RunOpRequested
from gswarm.wire.tls import Peer

A, B = ClientName("a"), ClientName("b")


async def prepared(host: Rig, client: FakeClient, seq: int = 1, **options: object) -> GrantOrder:
    """Submits an experiment and has the client prepare it; its first grant."""
    await host.loop.submit(submitted(**options))  # type: ignore[arg-type]
    order = (await client.next(JobOrder))[-1]
    assert isinstance(order, JobOrder)
    sizes = (run_size(),) * len(json.loads(order.request_json)["runs"])
    client.send(JobReport(seq, order.job, '{"seconds": 1}', sizes=sizes))
    grant = (await client.next(GrantOrder))[0]
    assert isinstance(grant, GrantOrder)
    return grant


def trained(grant: GrantOrder, seq: int) -> ChunkTrainedReport:
    return ChunkTrainedReport(seq, grant.run, grant.generation, grant.to_step, 0.5)


def committed(host: Rig, grant: GrantOrder, seq: int, manifest: Digest | None = None) -> ChunkCommittedReport:
    manifest = manifest or host.put_checkpoint(f"{grant.run}-{grant.to_step}")
    return ChunkCommittedReport(seq, grant.run, grant.generation, replace(checkpoint(grant.run, grant.to_step), manifest=manifest))


async def acked(client: FakeClient, seq: int) -> Ack:
    while True:
        for ack in client.received:
            if isinstance(ack, Ack) and ack.seq == seq:
                return ack
        await client.next(Ack, sum(isinstance(message, Ack) for message in client.received) + 1)


# ---- the way of one chunk ----------------------------------------------------------------------------------------------


async def test_a_chunk_from_registration_to_commit(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        assert client.received[0] == Registered(LEASE_TIMEOUT_S, "0.1.0", "c1")
        grant = await prepared(host, client)
        assert (grant.from_step, grant.to_step, grant.slot_index, grant.checkpoint, grant.warm_start) == (0, 5, 0, None, False)
        assert (grant.base, grant.data, grant.durability) == (digest("base"), digest("data"), "replicated")
        client.send(trained(grant, 2))
        client.send(committed(host, grant, 3))
        assert (await acked(client, 3)).accepted
        run = host.state.runs[grant.run]
        assert run.position == 5
        assert run.latest is not None
        assert run.latest.holders == ("a", HOST_HOLDER)


async def test_the_next_grant_carries_the_committed_checkpoint(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, runs=1)
        second = (await client.next(GrantOrder, 2))[1]
        assert isinstance(second, GrantOrder)
        assert (second.from_step, second.checkpoint) == (5, None)
        client.send(trained(grant, 2))
        client.send(committed(host, grant, 3))
        await acked(client, 3)
        open_grants = host.state.runs[grant.run].grants
        again = await host.connected("a", held=tuple(HeldGrantInfo(one.run, one.generation) for one in open_grants))
        for order, start in zip(await again.next(GrantOrder, 2), (5, 10), strict=True):
            assert isinstance(order, GrantOrder)
            assert order.checkpoint is not None
            assert (order.from_step, order.checkpoint.step, order.warm_start) == (start, 5, False)


async def test_a_commit_whose_blobs_the_host_lacks_does_not_count_until_they_are_there(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client)
        client.send(trained(grant, 2))
        client.send(committed(host, grant, 3, digest("never pushed")))
        ack = await acked(client, 3)
        assert (ack.accepted, ack.error_code) == (False, "incomplete")
        manifest = host.put_checkpoint("partly")
        entry = next(one for one in host.store.digests() if one != manifest)
        host.store.delete(entry)
        client.send(committed(host, grant, 4, manifest))
        assert (await acked(client, 4)).error_code == "incomplete"
        assert host.state.runs[grant.run].position == 0
        with host.store.ingest() as ingest:
            ingest.write(b"partly 0" if entry == digest("partly 0") else b"partly 1")
            ingest.commit(entry)
        client.send(committed(host, grant, 5, manifest))
        assert (await acked(client, 5)).accepted
        assert host.state.runs[grant.run].position == 5
        assert host.sessions.refused_reports == 0


async def test_a_local_commit_needs_no_copy_on_the_host(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, durability=Durability.LOCAL)
        assert grant.durability == "local"
        client.send(trained(grant, 2))
        client.send(committed(host, grant, 3, digest("only there")))
        assert (await acked(client, 3)).accepted
        latest = host.state.runs[grant.run].latest
        assert latest is not None
        assert latest.holders == ("a",)


async def test_reports_keep_their_order_and_each_gets_its_ack(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, runs=1)
        for seq in range(2, 6):
            client.send(trained(grant, seq))
        client.send(committed(host, grant, 6))
        await acked(client, 6)
        assert [message.seq for message in client.received if isinstance(message, Ack)] == [1, 2, 3, 4, 5, 6]


# ---- refusals ----------------------------------------------------------------------------------------------------------


async def test_a_late_report_is_refused_counted_and_shown(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, runs=1)
        await client.cut()
        await host.clock.advance_with(host.loop, LEASE_TIMEOUT_S + 1)
        assert host.state.clients[A].state is ClientState.LOST
        other = await host.connected("b")
        again = (await other.next(GrantOrder))[0]
        assert isinstance(again, GrantOrder)
        assert again.generation > grant.generation
        back = await host.connected("a", held=(HeldGrantInfo(grant.run, grant.generation),))
        assert (await back.next(RevokeOrder))[0] == RevokeOrder(grant.run, grant.generation)
        back.send(committed(host, grant, 2))
        ack = await acked(back, 2)
        assert (ack.accepted, ack.error_code) == (False, "fenced")
        assert host.state.runs[grant.run].position == 0
        assert host.sessions.refused_reports == 1
        [refusal] = host.sessions.recent_refusals
        assert (refusal.client, refusal.subject, refusal.generation, refusal.code) == ("a", "r1", grant.generation, "fenced")
        other.send(committed(host, again, 1))
        assert (await acked(other, 1)).accepted


async def test_a_client_cannot_report_for_another(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client, thief = await host.connected("a"), await host.connected("thief")
        grant = await prepared(host, client, runs=1)
        thief.send(trained(grant, 1))
        thief.send(committed(host, grant, 2))
        thief.send(GrantReturnedReport(3, grant.run, grant.generation))
        thief.send(JobReport(4, next(iter(host.state.jobs)), "{}"))
        for seq in range(1, 5):
            assert (await acked(thief, seq)).error_code == "fenced"
        assert host.state.runs[grant.run].position == 0
        assert host.sessions.refused_reports == 4


async def test_a_report_said_again_after_a_cut_is_accepted_and_counts_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, runs=1)
        reports = (trained(grant, 2), committed(host, grant, 3))
        for report in reports:
            client.send(report)
        await acked(client, 3)
        before = host.loop.seq
        await client.cut()
        back = await host.connected("a", held=(HeldGrantInfo(grant.run, grant.generation),))
        registered_seq = host.loop.seq
        for report in reports:
            back.send(report)
        assert (await acked(back, 2)).accepted
        assert (await acked(back, 3)).accepted
        assert registered_seq == before + 1
        assert host.loop.seq == registered_seq
        assert host.sessions.refused_reports == 0


async def test_the_memory_of_refusals_is_bounded(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        for seq in range(1, 301):
            client.send(ChunkTrainedReport(seq, RunId("r7"), 1, 5))
        await acked(client, 300)
        assert host.sessions.refused_reports == 300
        assert len(host.sessions.recent_refusals) == 200


# ---- one client of a name ----------------------------------------------------------------------------------------------


async def test_a_second_client_of_a_name_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        first = await host.connected("a", "i1")
        assert isinstance(await host.connect("a", "i2").ended(), ConflictError)
        assert first.error is None
        await host.clock.advance_with(host.loop, LEASE_TIMEOUT_S - 1)
        first.send(Heartbeat(0.0))
        await first.hear()
        await host.clock.advance_with(host.loop, LEASE_TIMEOUT_S - 1)
        assert isinstance(await host.connect("a", "i2").ended(), ConflictError)
        await host.clock.advance_with(host.loop, 2)
        await host.connected("a", "i2")
        assert isinstance(await first.ended(), UnavailableError)
        assert host.state.clients[A].incarnation == "i2"


async def test_a_restarted_client_whose_connection_closed_is_let_in_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a", "i1")
        grant = await prepared(host, client, runs=1)
        await client.cut()
        again = await host.connected("a", "i2")
        newer = (await again.next(GrantOrder))[0]
        assert isinstance(newer, GrantOrder)
        assert newer.generation > grant.generation


async def test_a_reconnect_of_the_same_process_takes_over_and_is_told_what_is_outstanding(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        first = await host.connected("a")
        grant = await prepared(host, first, runs=1)
        grants = [message for message in first.received if isinstance(message, GrantOrder)]
        held = tuple(HeldGrantInfo(one.run, one.generation) for one in grants)
        second = await host.connected("a", held=held)
        assert isinstance(await first.ended(), UnavailableError)
        assert await second.next(GrantOrder, 2) == grants
        await host.loop.submit(RunOpRequested(RequestId("stop"), grant.run, RunOp.STOP))
        assert StopOrder(grant.run, grant.generation) in await second.next(StopOrder)
        third = await host.connected("a", held=held)
        assert StopOrder(grant.run, grant.generation) in await third.next(StopOrder)


async def test_more_clients_than_the_limit_are_refused(tmp_path: Path) -> None:
    async with rig(tmp_path, clients_max=2) as host:
        await host.connected("a")
        await host.connected("b")
        assert isinstance(await host.connect("c").ended(), LimitError)
        await host.connected("a")


async def test_a_refused_registration_leaves_nothing_behind(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        await host.connected("a")
        intruder = Register(B, "i1", "0.1.0", "", (host.state.slots[next(iter(host.state.slots))].spec,))
        with pytest.raises(GswarmError, match="belongs to client a"):
            await anext(host.sessions.session(Peer("b", "client"), intruder, _silence()))
        await host.clock.advance_with(host.loop, LEASE_TIMEOUT_S * 3)
        assert B not in host.state.clients
        assert host.sessions.connected == frozenset()


async def _silence() -> AsyncIterator[Heartbeat]:
    await asyncio.Event().wait()
    yield Heartbeat(0.0)


# ---- leases ------------------------------------------------------------------------------------------------------------


async def test_a_silent_client_is_lost_and_its_session_ended(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        silent, talking = await host.connected("a"), await host.connected("b")
        for _ in range(4):
            await host.clock.advance_with(host.loop, LEASE_TIMEOUT_S / 3)
            talking.send(Heartbeat(0.0))
            await talking.hear()
        assert isinstance(await silent.ended(), UnavailableError)
        assert host.state.clients[A].state is ClientState.LOST
        assert host.state.clients[A].lost_reason == "silent for 10 s"
        assert host.state.clients[B].state is ClientState.READY
        assert host.sessions.connected == {B}


async def test_after_a_restart_every_client_gets_a_whole_lease_to_come_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, runs=1)
    async with rig(tmp_path) as host:
        await host.clock.advance_with(host.loop, LEASE_TIMEOUT_S - 1)
        assert host.state.clients[A].state is ClientState.READY
        held = tuple(HeldGrantInfo(one.run, one.generation) for one in host.state.runs[grant.run].grants)
        back = await host.connected("a", held=held)
        back.send(trained(grant, 2))
        back.send(committed(host, grant, 3))
        assert (await acked(back, 3)).accepted
    async with rig(tmp_path) as host:
        assert host.state.runs[grant.run].position == 5
        await host.clock.advance_with(host.loop, LEASE_TIMEOUT_S + 1)
        assert host.state.clients[A].state is ClientState.LOST


async def test_goodbye_ends_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        client.send(Goodbye("ctrl-c"))
        assert await client.ended() is None
        assert (host.state.clients[A].state, host.state.clients[A].lost_reason) == (ClientState.LOST, "ctrl-c")
        await host.connected("a", "i2")
        assert host.state.clients[A].state is ClientState.READY


async def test_disconnecting_asks_the_client_to_leave(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        await host.sessions.disconnect(A, "maintenance")
        assert await client.next(Shutdown) == [Shutdown("maintenance")]
        with pytest.raises(NotFoundError):
            await host.sessions.disconnect(B, "maintenance")


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.host.sessions.OUTGOING_MAX", 50)
    async with rig(tmp_path) as host:
        register = Register(A, "i1", "0.1.0", "", ())
        stream = host.sessions.session(Peer("a", "client"), register, _silence())
        assert isinstance(await anext(stream), Registered)
        for _ in range(60):
            host.sessions.deliver(A, Shutdown("x"))
        with pytest.raises(LimitError):
            [_message async for _message in stream]
        assert host.sessions.connected == frozenset()


# ---- jobs, clones, timers, sweeps ----------------------------------------------------------------------------------------


async def test_orders_carry_what_the_client_needs(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, runs=1)
        prepare = (await client.next(JobOrder))[0]
        assert isinstance(prepare, JobOrder)
        assert json.loads(prepare.request_json)["shared"]["model_name_or_path"] == "model"
        client.send(trained(grant, 2))
        report = committed(host, grant, 3)
        client.send(report)
        await acked(client, 3)
        await host.loop.submit(JobRequested(RequestId("v"), JobKind.VERIFY, grant.run, "{}"))
        await host.loop.submit(JobRequested(RequestId("x"), JobKind.EXPORT, grant.run, '{"format": "merged", "step": 5}'))
        verify, export = (json.loads(order.request_json) for order in (await client.next(JobOrder, 3))[1:] if isinstance(order, JobOrder))
        assert {key: verify[key] for key in ("until_step", "weights_digest", "manifest", "warm_start", "first_step", "start")} == {
            "until_step": 5,
            "weights_digest": report.checkpoint.weights_digest,
            "manifest": report.checkpoint.manifest,
            "warm_start": False,
            "first_step": 0,
            "start": None,
        }
        assert (verify["base"], verify["data"], verify["total_steps"], verify["steps_per_epoch"]) == (
            digest("base"),
            digest("data"),
            20,
            10,
        )
        assert (export["format"], export["checkpoint"]["manifest"], export["base"]) == (
            "merged",
            report.checkpoint.manifest,
            digest("base"),
        )


async def test_a_warm_clone_begins_at_its_parents_checkpoint(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, runs=1)
        client.send(trained(grant, 2))
        client.send(committed(host, grant, 3))
        await acked(client, 3)
        clone = RunCloneRequested(RequestId("c"), grant.run, RunSpec("model", "data", learning_rate=0.5), (), "latest")
        made = RunId((await host.loop.submit(clone)).result_id or "")
        helper = await host.connected("b")
        order = (await helper.next(GrantOrder))[0]
        assert isinstance(order, GrantOrder)
        assert (order.run, order.warm_start, order.checkpoint) == (made, True, host.state.runs[grant.run].checkpoints[0])
        assert order.spec.learning_rate == 0.5


async def test_the_undo_window_closes_by_a_timer_also_over_a_restart(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, runs=1)
        await host.loop.submit(RunOpRequested(RequestId("d"), grant.run, RunOp.DELETE))
        for one in [message for message in client.received if isinstance(message, GrantOrder)]:
            client.send(GrantReturnedReport(one.generation + 5, one.run, one.generation))
        await client.next(Ack, 2)
        assert host.state.runs[grant.run].state is RunState.DELETING
        await host.clock.advance_with(host.loop, 30)
        assert host.state.runs[grant.run].state is RunState.DELETING
    async with rig(tmp_path) as host:
        await host.clock.advance_with(host.loop, 120)
        assert host.state.runs[grant.run].state is RunState.DELETED


async def test_a_sweep_takes_what_nothing_refers_to_and_tells_the_clients(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, runs=1)
        client.send(trained(grant, 2))
        report = committed(host, grant, 3)
        client.send(report)
        await acked(client, 3)
        garbage, young = host.put_checkpoint("garbage"), host.put_checkpoint("young")
        for blob in list(host.store.digests()):
            if blob != young:
                os.utime(host.store.path(blob), (host.clock.time_s - GRACE_S - 60,) * 2)
        host.keeper.request_sweep()
        host.keeper.request_sweep()
        await host.clock.advance_with(host.loop, 6)
        order = (await client.next(SweepOrder))[0]
        assert isinstance(order, SweepOrder)
        assert report.checkpoint.manifest in order.roots
        assert not host.store.has(garbage)
        assert host.store.has(young)
        assert await host.keeper.lacking(report.checkpoint.manifest) == []


async def test_a_checkpoint_that_is_being_committed_is_safe_from_the_sweep(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        manifest = host.put_checkpoint("old")
        for blob in list(host.store.digests()):
            os.utime(host.store.path(blob), (host.clock.time_s - GRACE_S - 60,) * 2)
        assert await host.keeper.lacking(manifest) == []
        host.keeper.request_sweep()
        await host.clock.advance_with(host.loop, 6)
        await host.keeper.close()
        assert host.store.has(manifest)


# ---- metrics and places --------------------------------------------------------------------------------------------------


async def test_metrics_are_stored_before_they_are_acknowledged_and_only_those_of_own_runs(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        await host.connected("b")
        grant = await prepared(host, client, runs=1)

        async def batches() -> AsyncIterator[MetricBatch]:
            yield MetricBatch(1, (metrics(grant.run, grant.generation, 1),), (LogLine(grant.run, 1.0, "info", "hello"),))
            yield MetricBatch(2, (metrics(grant.run, grant.generation + 9, 2), metrics("r99", 1, 1)))

        assert [seq async for seq in host.sessions.metrics(Peer("a", "client"), batches())] == [1, 2]
        assert host.series.latest(grant.run) == {"loss": (1, 1.0)}
        assert [line.text for line in host.logs.lines] == ["hello"]
        assert host.sessions.refused_metrics == 2

        async def forged() -> AsyncIterator[MetricBatch]:
            yield MetricBatch(1, (metrics(grant.run, grant.generation, 3),), (LogLine(grant.run, 1.0, "info", "forged"),))

        assert [seq async for seq in host.sessions.metrics(Peer("b", "client"), forged())] == [1]
        assert host.series.latest(grant.run) == {"loss": (1, 1.0)}
        assert len(host.logs.lines) == 1
        assert host.sessions.refused_metrics == 4


async def test_a_failed_run_keeps_what_is_told_about_it_afterwards_and_its_log_says_why(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await prepared(host, client, runs=1)
        failure = Failure("trainer_hung", "it was silent for 600 s", log_tail="last words")
        client.send(ChunkFailedReport(2, grant.run, grant.generation, failure))
        await acked(client, 2)
        assert host.state.runs[grant.run].state is RunState.FAILED
        (line,) = host.logs.lines
        assert line.level == "error"
        assert line.text.startswith("failed on a (trainer_hung): it was silent for 600 s")
        assert line.text.endswith("last words")

        async def late() -> AsyncIterator[MetricBatch]:
            yield MetricBatch(1, (metrics(grant.run, grant.generation, 1),), (LogLine(grant.run, 1.0, "info", "hello"),))

        assert [seq async for seq in host.sessions.metrics(Peer("a", "client"), late())] == [1]
        assert host.series.latest(grant.run) == {"loss": (1, 1.0)}
        assert host.logs.lines[-1].text == "hello"
        assert host.sessions.refused_metrics == 0


async def test_blobs_are_found_on_the_host_and_else_with_those_who_hold_them(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client, _other = await host.connected("a"), await host.connected("b")
        grant = await prepared(host, client, durability=Durability.LOCAL)
        client.send(trained(grant, 2))
        client.send(committed(host, grant, 3, digest("only on a")))
        await acked(client, 3)
        on_host = host.put_checkpoint("here")
        found = await host.sessions.locate(Peer("b", "client"), [on_host, digest("only on a"), digest("base"), digest("an entry of it")])
        assert found[on_host] == [("https://host:1", HOST_HOLDER)]
        assert found[digest("only on a")] == found[digest("base")] == found[digest("an entry of it")] == [("https://a:1", "a")]
        assert (await host.sessions.locate(Peer("a", "client"), [digest("only on a")]))[digest("only on a")] == []
