"""Runs whose newest checkpoint only some clients have, and other things that must outlast a client."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gswarm.domain.errors import InvalidInputError, LimitError
from gswarm.domain.ids import HOST_HOLDER, ClientName, RunId, SlotId
from gswarm.domain.plan import ExperimentState, RunOp, RunState, SlotSpec
from gswarm.domain.spec import CheckpointPolicy, Durability
from gswarm.scheduler import clients
from gswarm.scheduler.effects import SendGrant, StartTimer
from gswarm.scheduler.events import ChunkCommitted, ClientRegistered
from gswarm.scheduler.explain import explain_run
from scheduler_kit import Cluster, checkpoint, only

LOCAL = CheckpointPolicy(durability=Durability.LOCAL)


def one_chunk_by_a(holders: tuple[str, ...]) -> Cluster:
    """``r1`` has one chunk behind it, whose checkpoint is with ``holders``; client ``b`` came later."""
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1, checkpoints=LOCAL)
    grant = cluster.active("a/0")
    cluster.train(grant)
    kept = replace(checkpoint("r1", grant.to_step), holders=holders)
    cluster.step(ChunkCommitted(ClientName("a"), RunId("r1"), grant.generation, kept))
    cluster.client("b")
    return cluster


def test_a_run_waits_for_the_client_that_alone_has_its_checkpoint() -> None:
    """Elsewhere it could only fail."""
    cluster = one_chunk_by_a(("a",))
    assert only(cluster.lose("a"), SendGrant) == []
    cluster.reload()
    run = cluster.run("r1")
    assert (run.state, run.grants, run.attempts) == (RunState.QUEUED, [], 0)
    said = explain_run(cluster.state, RunId("r1"), cluster.now_s)
    assert (said.code, "only with a" in said.text) == ("out_of_reach", True)
    [granted, *_] = only(cluster.client("a", incarnation="i2"), SendGrant)
    assert (granted.client, granted.grant.from_step) == ("a", 10)
    cluster.finish_everything()
    assert cluster.run("r1").state is RunState.COMPLETED


@pytest.mark.parametrize("holders", [("a", HOST_HOLDER), ("a", "b")])
def test_a_run_whose_checkpoint_is_in_a_second_place_goes_on_there(holders: tuple[str, ...]) -> None:
    cluster = one_chunk_by_a(holders)
    [granted, *_] = only(cluster.lose("a"), SendGrant)
    assert (granted.client, granted.grant.from_step) == ("b", 10)


def test_a_warm_clone_waits_for_its_parents_keeper_and_a_cold_one_does_not() -> None:
    cluster = one_chunk_by_a(("a",))
    cluster.lose("a")
    warm, cold = cluster.clone("r1", warm_start="latest"), cluster.clone("r1")
    assert (warm.grants, warm.state) == ([], RunState.QUEUED)
    assert [grant.client for grant in cold.grants][:1] == ["b"]
    cluster.client("a", incarnation="i2")
    cluster.finish_everything()
    assert {run.state for run in cluster.state.runs.values()} == {RunState.COMPLETED}


def test_a_timer_that_comes_too_early_runs_on() -> None:
    cluster = one_chunk_by_a(("a",))
    cluster.op("r1", RunOp.DELETE)
    due_at_s = cluster.state.timers["sweep:r1"]
    cluster.now_s = due_at_s - 1e-6
    assert cluster.sweep("r1") == [StartTimer("sweep:r1", due_at_s)]
    cluster.now_s = due_at_s
    cluster.sweep("r1")
    assert cluster.run("r1").state is RunState.DELETED


@pytest.mark.parametrize(
    "name", ["a/first", "a/", "a", "/0", "a/-1", "7", "b/7", "a/a/7", "a/03", "a/\N{ARABIC-INDIC DIGIT THREE}", "a/3\n", "a/[/0]"]
)
def test_a_slot_has_a_name_that_an_order_can_point_to(name: str) -> None:
    cluster = Cluster()
    cluster.refused(ClientRegistered(ClientName("a"), "i1", "1", "", (SlotSpec(SlotId(name), "cpu"),)), InvalidInputError)


def test_a_deleted_experiment_keeps_no_configurations() -> None:
    cluster = Cluster()
    experiment = cluster.submit(runs=3)
    cluster.experiment_op(experiment, RunOp.DELETE)
    kept = cluster.state.experiments[experiment]
    assert (kept.state, kept.planned, kept.planned_changes) == (ExperimentState.DELETED, (), ())


def test_a_full_cluster_forgets_the_client_that_was_lost_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "CLIENTS_MAX", 3)
    cluster = Cluster()
    for name in ("a", "b", "c"):
        cluster.client(name)
    full = ClientRegistered(ClientName("d"), "i1", "1", "", ())
    cluster.refused(full, LimitError)
    for name in ("b", "a"):
        cluster.now_s += 1
        cluster.lose(name)
    cluster.experiment(runs=2)
    cluster.client("d")
    assert list(cluster.state.clients) == ["a", "c", "d"]
    assert list(cluster.state.slots) == ["a/0", "c/0", "d/0"]
    cluster.client("a", incarnation="i2")
    cluster.reload()
    cluster.finish_everything()
