"""Between a client's report and the host's answer: what may go wrong there, and what must not come of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from host_rig import LEASE_TIMEOUT_S, FakeClient, Rig, rig
from host_support import checkpoint, registered, run_size, submitted

from gswarm.datapool.manifest import load_manifest
from gswarm.domain.errors import StorageError
from gswarm.domain.ids import HOST_HOLDER, ClientName, Digest, RequestId
from gswarm.domain.messages import (
    Ack,
    ChunkCommittedReport,
    ChunkTrainedReport,
    GrantOrder,
    HeldGrantInfo,
    JobOrder,
    JobReport,
    Registered,
    SweepOrder,
)
from gswarm.domain.plan import ClientState, GrantPhase, JobKind, RunOp, RunState
from gswarm.host.orders import order_of
from gswarm.host.reports import INCOMPLETE
from gswarm.scheduler.effects import SendJob
from gswarm.scheduler.events import JobRequested, RunOpRequested
from gswarm.wire.tls import Peer

A = ClientName("a")


async def granted(host: Rig, client: FakeClient) -> GrantOrder:
    """An experiment of one run; its first grant."""
    await host.loop.submit(submitted(runs=1))
    order = (await client.next(JobOrder))[-1]
    assert isinstance(order, JobOrder)
    client.send(JobReport(1, order.job, '{"seconds": 1}', sizes=(run_size(),)))
    grant = (await client.next(GrantOrder))[0]
    assert isinstance(grant, GrantOrder)
    return grant


def trained(grant: GrantOrder, seq: int = 2) -> ChunkTrainedReport:
    return ChunkTrainedReport(seq, grant.run, grant.generation, grant.to_step, 0.5)


def committed(grant: GrantOrder, manifest: Digest, seq: int = 3) -> ChunkCommittedReport:
    return ChunkCommittedReport(seq, grant.run, grant.generation, replace(checkpoint(grant.run, grant.to_step), manifest=manifest))


async def answer(client: FakeClient, seq: int) -> Ack:
    while True:
        for message in client.received:
            if isinstance(message, Ack) and message.seq == seq:
                return message
        await client.next(Ack, sum(isinstance(message, Ack) for message in client.received) + 1)


async def test_a_refused_report_leaves_no_grant_open(tmp_path: Path) -> None:
    """The client forgets what was refused: a grant that stayed open would hold the run for ever."""
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await granted(host, client)
        with host.store.ingest() as ingest:
            ingest.write(b"no manifest")
            nonsense = ingest.commit()
        client.send(trained(grant))
        client.send(committed(grant, nonsense))
        refusal = await answer(client, 3)
        assert (refusal.accepted, refusal.error_code) == (False, "corrupt_data")
        run = host.state.runs[grant.run]
        assert (run.position, run.attempts) == (0, 1)
        assert all(one.generation > grant.generation for one in run.grants)
        assert run.grants[0].phase is GrantPhase.OPEN, "it is tried again"


async def test_a_damaged_manifest_on_the_host_is_asked_for_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await granted(host, client)
        manifest = host.put_checkpoint("c5")
        path = host.store.path(manifest)
        path.chmod(0o600)
        path.write_bytes(b"rotten")
        client.send(trained(grant))
        client.send(committed(grant, manifest))
        refusal = await answer(client, 3)
        assert (refusal.accepted, refusal.error_code) == (False, INCOMPLETE)
        assert host.put_checkpoint("c5") == manifest
        client.send(committed(grant, manifest, seq=4))
        assert (await answer(client, 4)).accepted
        assert host.state.runs[grant.run].position == 5


async def test_nobody_is_asked_for_the_bytes_of_a_grant_that_is_over(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await granted(host, client)
        client.send(trained(grant))
        await answer(client, 2)
        await host.loop.submit(RunOpRequested(RequestId("d"), grant.run, RunOp.DELETE))
        client.send(committed(grant, Digest("f" * 64)))
        refusal = await answer(client, 3)
        assert (refusal.accepted, refusal.error_code) == (False, "fenced")


async def test_a_repeated_report_is_not_acknowledged_before_the_first_one_is_on_disk(tmp_path: Path, monkeypatch: Any) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await granted(host, client)
        client.send(trained(grant))
        await answer(client, 2)
        report = committed(grant, host.put_checkpoint("c5"))
        disk, append = threading.Event(), host.loop._journal.append

        def slow(entries: Any) -> int:
            assert disk.wait(10)
            return append(entries)

        monkeypatch.setattr(host.loop._journal, "append", slow)
        desk = host.sessions._desk
        first = asyncio.create_task(desk.take(A, report))
        async with asyncio.timeout(60):
            while host.state.runs[grant.run].position == 0:
                await asyncio.sleep(0)
        second = asyncio.create_task(desk.take(A, report))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done()
        disk.set()
        assert (await first, await second) == (Ack(3, True), Ack(3, True))
        assert host.sessions.refused_reports == 0


async def test_a_client_that_comes_back_at_the_moment_of_its_loss_stays(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        await client.cut()
        again = host.connect("a")
        host.sessions._on_expired(A)
        await again.next(Registered)
        await host.loop.at_rest(dict)
        assert host.state.clients[A].state is ClientState.READY
        await host.clock.advance_with(host.loop, LEASE_TIMEOUT_S + 1)
        await host.loop.at_rest(dict)
        assert host.state.clients[A].state is ClientState.LOST, "its lease is watched again"


async def test_a_slow_disk_of_the_host_costs_no_client_its_leases(tmp_path: Path, monkeypatch: Any) -> None:
    """While a report is being taken in, the heartbeats behind it are not read."""
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await granted(host, client)
        manifest, look = asyncio.Event(), host.keeper.lacking

        async def slow(digest: Digest, owner: str) -> list[Digest]:
            await manifest.wait()
            return await look(digest, owner)

        monkeypatch.setattr(host.keeper, "lacking", slow)
        client.send(trained(grant))
        await answer(client, 2)
        client.send(committed(grant, host.put_checkpoint("c5")))
        while not client.outgoing.empty():
            await asyncio.sleep(0)
        await host.clock.advance_with(host.loop, LEASE_TIMEOUT_S * 3)
        manifest.set()
        assert (await answer(client, 3)).accepted
        assert host.state.clients[A].state is ClientState.READY
        assert host.state.runs[grant.run].position == 5


async def test_a_pool_that_cannot_be_written_ends_no_session(tmp_path: Path, monkeypatch: Any) -> None:
    """The client sends the checkpoint again, and hears of the disk there."""
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await granted(host, client)
        client.send(trained(grant))
        await answer(client, 2)
        manifest = host.put_checkpoint("c5")

        def renew(_digest: Digest) -> bool:
            raise StorageError("cannot renew a blob: Read-only file system", "remount it")

        with monkeypatch.context() as patch:
            patch.setattr(host.store, "renew", renew)
            client.send(committed(grant, manifest))
            refused = await answer(client, 3)
        assert (refused.accepted, refused.error_code) == (False, INCOMPLETE)
        assert refused.message.startswith("on the host: cannot renew a blob")
        client.send(committed(grant, manifest, seq=4))
        assert (await answer(client, 4)).accepted


async def test_the_second_copy_is_found_when_the_hosts_own_is_gone(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        await host.connected("b")
        grant = await granted(host, client)
        manifest = host.put_checkpoint("c5")
        client.send(trained(grant))
        client.send(committed(grant, manifest))
        assert (await answer(client, 3)).accepted
        on_host, with_a = ("https://host:1", HOST_HOLDER), ("https://a:1", "a")

        async def places() -> list[tuple[str, str]]:
            return (await host.sessions.locate(Peer("b", "client"), [manifest]))[manifest]

        assert await places() == [on_host]
        host.store.delete(load_manifest(host.store, manifest).entries[0].digest)
        assert await places() == [on_host, with_a]
        host.store.delete(manifest)
        assert await places() == [with_a]


async def test_clients_sweep_by_what_is_a_root_when_they_are_told(tmp_path: Path, monkeypatch: Any) -> None:
    """What was committed while the host swept must not be missing in the roots that its client gets."""
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        answers = [["1" * 64], ["1" * 64, "2" * 64]]

        async def roots() -> Sequence[Digest]:
            return [Digest(text) for text in answers.pop(0)]

        monkeypatch.setattr(host.keeper, "_roots", roots)
        host.keeper.request_sweep()
        await host.clock.advance_with(host.loop, 6)
        [order] = await client.next(SweepOrder)
        assert order == SweepOrder((Digest("1" * 64), Digest("2" * 64)))


async def test_more_roots_than_a_message_holds_cost_no_session(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("gswarm.host.sessions.ROOTS_MAX", 2)
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        host.sessions.broadcast_sweep([Digest(f"{number:064x}") for number in range(3)])
        host.sessions.broadcast_sweep([Digest("a" * 64)])
        assert await client.next(SweepOrder) == [SweepOrder((Digest("a" * 64),))]


@pytest.mark.parametrize("kind", [JobKind.VERIFY, JobKind.EXPORT])
async def test_a_job_is_about_the_checkpoint_that_was_asked_for(tmp_path: Path, kind: JobKind) -> None:
    """Also when it is given out after the run has gone on, and the sweep leaves that checkpoint alone."""
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await granted(host, client)
        client.send(trained(grant))
        client.send(committed(grant, host.put_checkpoint("c5")))
        await answer(client, 3)
        asked = host.state.runs[grant.run].checkpoints[0]
        request = json.dumps({"checkpoint": asdict(asked), "format": "adapter"})
        await host.loop.submit(JobRequested(RequestId("v"), kind, grant.run, request))
        host.state.runs[grant.run].checkpoints[:] = [replace(asked, step=7, manifest=Digest("f" * 64))]
        job = next(job for job in host.state.jobs.values() if job.kind is kind)
        order = order_of(host.state, SendJob(A, job.id))
        assert isinstance(order, JobOrder)
        said = json.loads(order.request_json)
        about = said["checkpoint"] if kind is JobKind.EXPORT else said
        assert about["manifest"] == asked.manifest
        assert kind is JobKind.EXPORT or said["until_step"] == asked.step
        assert asked.manifest in host.state.live_roots()


async def test_a_commit_whose_answer_was_lost_costs_nobody_the_next_chunk(tmp_path: Path) -> None:
    """The client comes back with a grant that counts already, and another one that it trains now."""
    async with rig(tmp_path) as host:
        client = await host.connected("a")
        grant = await granted(host, client)
        client.send(trained(grant))
        client.send(committed(grant, host.put_checkpoint("c5")))
        await answer(client, 3)
        open_grants = [(one.run, one.generation) for one in host.state.runs[grant.run].grants]
        held = tuple(HeldGrantInfo(run, generation) for run, generation in [(grant.run, grant.generation), *open_grants])
        again = await host.connected("a", held=held)
        again.send(trained(grant, 4))
        again.send(committed(grant, host.state.runs[grant.run].checkpoints[0].manifest, 5))
        assert (await answer(again, 4)).accepted
        assert (await answer(again, 5)).accepted
        assert [(one.run, one.generation) for one in host.state.runs[grant.run].grants] == open_grants
        assert host.state.runs[grant.run].state is RunState.RUNNING


async def test_slots_have_names_that_an_order_can_point_to(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        event = registered("a")
        strange = replace(event, slots=(replace(event.slots[0], id="a/first"),))  # type: ignore[arg-type]
        with pytest.raises(Exception, match="name it a/0"):
            await host.loop.submit(strange)
