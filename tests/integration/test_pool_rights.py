"""What clients may fetch, leave and name, against the real plan: and nobody speaks for another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from host_rig import FakeClient, Rig, metrics, rig
from host_support import checkpoint, run_size, submitted

from gswarm.datapool.manifest import ingest_folder, load_manifest
from gswarm.domain.errors import ForbiddenError, InvalidInputError
from gswarm.domain.ids import ClientName, Digest, ExperimentId, RequestId
from gswarm.domain.messages import (
    Ack,
    ChunkCommittedReport,
    ChunkFailedReport,
    ChunkTrainedReport,
    GrantOrder,
    GrantReturnedReport,
    JobOrder,
    JobReport,
    LogLine,
    MetricBatch,
    ReliableMessage,
)
from gswarm.domain.plan import Failure, JobKind, RunSize
from gswarm.domain.spec import Durability
from gswarm.host.access import rights as rights_module
from gswarm.host.access.rights import PoolRights
from gswarm.host.reports import ReportDesk
from gswarm.scheduler.events import JobRequested
from gswarm.wire.tls import Peer

A, B = ClientName("a"), ClientName("b")


def stored(host: Rig, kind: str, text: str) -> Digest:
    folder = host.folder / text
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0.bin").write_text(f"{text} of {kind}")
    return ingest_folder(host.store, kind, folder)[0]


async def training(host: Rig, *names: str, **options: Any) -> tuple[dict[str, FakeClient], dict[str, GrantOrder], RunSize]:
    """Connected clients with a run each, over a model and data that are in the pool."""
    clients = {name: await host.connected(name) for name in names}
    size = replace(run_size(), base=stored(host, "base", "model"), data=stored(host, "data", "rows"))
    await host.loop.submit(submitted(runs=len(names), **options))
    order = (await clients[names[0]].next(JobOrder))[0]
    assert isinstance(order, JobOrder)
    clients[names[0]].send(JobReport(1, order.job, "{}", sizes=(size,) * len(names)))
    grants = {name: (await client.next(GrantOrder))[0] for name, client in clients.items()}
    return clients, {name: grant for name, grant in grants.items() if isinstance(grant, GrantOrder)}, size


async def acked(client: FakeClient, seq: int) -> Ack:
    while True:
        for ack in client.received:
            if isinstance(ack, Ack) and ack.seq == seq:
                return ack
        await client.next(Ack, sum(isinstance(message, Ack) for message in client.received) + 1)


async def test_a_client_may_fetch_what_its_grant_needs_and_no_more(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        clients, grants, size = await training(host, "a", "b")
        rights = PoolRights(host.state, host.store, host.clock)
        foreign = host.put_checkpoint("of somebody else")
        for digest in (size.base, load_manifest(host.store, size.data).entries[0].digest):
            await rights.check_fetch(A, digest)
            with pytest.raises(ForbiddenError):
                await rights.check_fetch(ClientName("idle"), digest)
        with pytest.raises(ForbiddenError, match="no grant or job of a needs blob"):
            await rights.check_fetch(A, foreign)
        assert (rights.refused_count, rights.refused[-1].client, rights.refused[-1].action) == (3, "a", "fetch")

        manifest = host.put_checkpoint("of a")
        clients["a"].send(ChunkTrainedReport(2, grants["a"].run, grants["a"].generation, grants["a"].to_step, 0.5))
        report = replace(checkpoint(grants["a"].run, grants["a"].to_step), manifest=manifest)
        clients["a"].send(ChunkCommittedReport(3, grants["a"].run, grants["a"].generation, report))
        assert (await acked(clients["a"], 3)).accepted
        await rights.check_fetch(A, manifest)
        with pytest.raises(ForbiddenError):
            await rights.check_fetch(B, manifest)
        assert await host.sessions.reach(Peer("b", "client"), A) == sorted({size.base, size.data, manifest})

        host.sessions.expel(A, "revoked")
        await host.loop.at_rest(dict)
        with pytest.raises(ForbiddenError):
            await rights.check_fetch(A, size.base)
        with pytest.raises(ForbiddenError):
            rights.check_leave(A, manifest)


async def test_whoever_has_nothing_to_do_may_leave_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        await training(host, "a")
        rights = PoolRights(host.state, host.store, host.clock)
        rights.check_leave(A, Digest("0" * 64))
        with pytest.raises(ForbiddenError, match="holds no grant or job"):
            rights.check_leave(B, Digest("0" * 64))
        assert rights.refused[-1].action == "leave"


async def test_knowing_a_digest_is_no_right_to_the_bytes(tmp_path: Path) -> None:
    """A checkpoint that names somebody else's blob counts only when its sender has brought that blob: else it could fetch it then."""
    async with rig(tmp_path) as host:
        _clients, grants, size = await training(host, "a", "b")
        rights = PoolRights(host.state, host.store, host.clock)
        desk = ReportDesk(host.loop, host.keeper, host.clock, rights)
        stolen = host.put_checkpoint("of b")
        grant = grants["a"]
        await desk.take(A, ChunkTrainedReport(2, grant.run, grant.generation, grant.to_step, 0.5))
        report = ChunkCommittedReport(3, grant.run, grant.generation, replace(checkpoint(grant.run, grant.to_step), manifest=stolen))
        refused = await desk.take(A, report)
        assert (refused.accepted, refused.error_code) == (False, "incomplete")
        named = {stolen, *(entry.digest for entry in load_manifest(host.store, stolen).entries)}
        assert await rights.owned(A, named | {size.base}) == {size.base}
        for digest in sorted(named)[1:]:
            rights.bring(A, digest)
        assert not (await desk.take(A, report)).accepted
        rights.bring(A, sorted(named)[0])
        assert (await desk.take(A, report)).accepted
        assert host.state.runs[grant.run].position == grant.to_step


async def test_a_local_checkpoint_cannot_name_what_the_host_has_of_others(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        _clients, grants, _size = await training(host, "a", durability=Durability.LOCAL)
        rights = PoolRights(host.state, host.store, host.clock)
        desk = ReportDesk(host.loop, host.keeper, host.clock, rights)
        grant = grants["a"]
        await desk.take(A, ChunkTrainedReport(2, grant.run, grant.generation, grant.to_step, 0.5))
        made = checkpoint(grant.run, grant.to_step)
        stolen = ChunkCommittedReport(3, grant.run, grant.generation, replace(made, manifest=host.put_checkpoint("of b")))
        assert (await desk.take(A, stolen)).error_code == "incomplete"
        own = ChunkCommittedReport(4, grant.run, grant.generation, made)
        assert (await desk.take(A, own)).accepted


async def preparing(host: Rig, name: str) -> tuple[FakeClient, JobOrder, PoolRights]:
    """A client that prepares a second experiment, of another model and other data than the first one's."""
    rights = PoolRights(host.state, host.store, host.clock)
    host.sessions._desk = ReportDesk(host.loop, host.keeper, host.clock, rights)
    client = await host.connected(name)
    first = submitted("second", runs=1, name="second")
    other = replace(first.runs[0], model_name_or_path="other model", dataset="other data")
    await host.loop.submit(replace(first, runs=(other,)))
    order = (await client.next(JobOrder))[0]
    assert isinstance(order, JobOrder)
    return client, order, rights


async def test_preparing_an_experiment_opens_no_other_experiments_model_or_data(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        _clients, _grants, size = await training(host, "a")
        _thief, _order, rights = await preparing(host, "thief")
        for digest in (size.base, size.data, load_manifest(host.store, size.data).entries[0].digest):
            with pytest.raises(ForbiddenError):
                await rights.check_fetch(ClientName("thief"), digest)
            rights.check_leave(ClientName("thief"), digest)
        assert await host.sessions.reach(Peer("thief", "client"), ClientName("thief")) == []


async def test_nobody_prepares_an_experiment_with_what_he_has_not_brought(tmp_path: Path) -> None:
    """He could read it then, as soon as he is granted a run of that experiment. Whoever brings it, may."""
    async with rig(tmp_path) as host:
        _clients, _grants, size = await training(host, "a")
        thief, order, rights = await preparing(host, "thief")
        own = replace(size, base=stored(host, "base", "other model"), data=stored(host, "data", "other rows"))
        named = [own.base, own.data, *(load_manifest(host.store, one).entries[0].digest for one in (own.base, own.data))]
        for digest in named:
            rights.bring(ClientName("thief"), digest)
        elsewhere = replace(own, data=Digest("9" * 64))
        for seq, stolen in enumerate((size, replace(own, data=size.data), replace(own, base=size.base), elsewhere), 1):
            thief.send(JobReport(seq, order.job, "{}", sizes=(stolen,)))
            answer = await acked(thief, seq)
            assert (answer.accepted, answer.error_code) == (False, "incomplete")
            # The job is done again: a host that has started anew has forgotten who brought what.
            assert await thief.next(JobOrder, seq + 1) == [order] * (seq + 1)
        thief.send(JobReport(9, order.job, "{}", sizes=(own,)))
        assert (await acked(thief, 9)).accepted
        assert host.state.runs[host.state.experiments[ExperimentId("e2")].runs[0]].base == own.base


async def test_nobody_exports_what_he_has_not_brought(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        clients, grants, _size = await training(host, "a")
        rights = PoolRights(host.state, host.store, host.clock)
        host.sessions._desk = ReportDesk(host.loop, host.keeper, host.clock, rights)
        client, grant = clients["a"], grants["a"]
        client.send(ChunkTrainedReport(2, grant.run, grant.generation, grant.to_step, 0.5))
        made = host.put_checkpoint("of a")
        for digest in (made, *(entry.digest for entry in load_manifest(host.store, made).entries)):
            rights.bring(A, digest)
        client.send(ChunkCommittedReport(3, grant.run, grant.generation, replace(checkpoint(grant.run, grant.to_step), manifest=made)))
        assert (await acked(client, 3)).accepted
        await host.loop.submit(JobRequested(RequestId("x"), JobKind.EXPORT, grant.run, '{"format": "adapter"}'))
        order = (await client.next(JobOrder, 2))[1]
        assert isinstance(order, JobOrder)
        for seq, named in enumerate((host.put_checkpoint("of b"), Digest("9" * 64)), 4):
            client.send(JobReport(seq, order.job, json.dumps({"manifest": named})))
            answer = await acked(client, seq)
            assert (answer.accepted, answer.error_code) == (False, "incomplete")
        own = stored(host, "export", "adapter")
        for digest in (own, load_manifest(host.store, own).entries[0].digest):
            rights.bring(A, digest)
        client.send(JobReport(6, order.job, json.dumps({"manifest": own})))
        assert (await acked(client, 6)).accepted
        assert json.loads(host.state.jobs[order.job].result_json or "") == {"manifest": own}


async def test_a_job_of_somebody_else_is_not_reported_with_what_was_not_brought(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        clients, _grants, size = await training(host, "a")
        _client, order, _rights = await preparing(host, "b")
        foreign = replace(size, data=host.put_checkpoint("of b"))
        clients["a"].send(JobReport(5, order.job, "{}", sizes=(foreign,)))
        assert (await acked(clients["a"], 5)).error_code == "fenced"
        assert sum(isinstance(message, JobOrder) for message in clients["a"].received) == 1


async def test_a_checkpoint_is_no_model_and_no_data(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        _clients, _grants, size = await training(host, "a")
        rights = PoolRights(host.state, host.store, host.clock)
        await rights.check_prepared([size, run_size()])
        for wrong in (replace(size, base=size.data), replace(size, data=host.put_checkpoint("of b"))):
            with pytest.raises(InvalidInputError, match="not a"):
                await rights.check_prepared([wrong])


async def test_what_was_brought_is_remembered_up_to_a_limit_and_for_clients_with_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights_module, "BROUGHT_MAX", 3)
    async with rig(tmp_path) as host:
        await training(host, "a")
        rights = PoolRights(host.state, host.store, host.clock)
        digests = [Digest(f"{number:064x}") for number in range(5)]
        for digest in digests:
            rights.bring(A, digest)
        assert await rights.owned(A, set(digests)) == set(digests[2:])
        rights.bring(ClientName("gone"), digests[0])
        rights.bring(ClientName("gone too"), digests[0])
        assert set(rights._brought) == {"a", "gone too"}
        for number in range(rights_module.REFUSED_KEPT_MAX + 10):
            with pytest.raises(ForbiddenError):
                await rights.check_fetch(B, Digest(f"{number:064x}"))
        assert len(rights.refused) == rights_module.REFUSED_KEPT_MAX
        assert rights.refused_count == rights_module.REFUSED_KEPT_MAX + 10


async def test_no_report_about_another_clients_grant_or_job_counts(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        clients, grants, _size = await training(host, "a", "b")
        theirs = grants["b"]
        job = next(iter(host.state.jobs))
        forged: list[ReliableMessage] = [
            ChunkTrainedReport(10, theirs.run, theirs.generation, theirs.to_step, 0.5),
            ChunkCommittedReport(
                11,
                theirs.run,
                theirs.generation,
                replace(checkpoint(theirs.run, theirs.to_step), manifest=host.put_checkpoint("forged")),
            ),
            ChunkFailedReport(12, theirs.run, theirs.generation, Failure("nan_loss", "as b")),
            GrantReturnedReport(13, theirs.run, theirs.generation),
            JobReport(14, job, '{"forged": true}'),
        ]
        before = host.sessions.refused_reports
        for report in forged:
            clients["a"].send(report)
        answers = [await acked(clients["a"], report.seq) for report in forged]
        assert {answer.accepted for answer in answers[:4]} == {False}
        assert {answer.error_code for answer in answers[:4]} == {"fenced"}
        assert host.sessions.refused_reports >= before + 4
        run = host.state.runs[theirs.run]
        assert (run.position, run.grants[0].client, run.grants[0].generation) == (0, "b", theirs.generation)
        assert "forged" not in (host.state.jobs[job].result_json or "")

        async def batches() -> object:
            yield MetricBatch(1, (metrics(theirs.run, theirs.generation, 1),), (LogLine(theirs.run, 1.0, "info", "as b"),))

        assert [seq async for seq in host.sessions.metrics(Peer("a", "client"), batches())] == [1]  # type: ignore[arg-type]
        assert host.sessions.refused_metrics == 2
