"""What a client may fetch and leave, by what it holds at that moment."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.plan import JobKind, RunOp
from gswarm.domain.spec import RunSpec
from gswarm.scheduler.allowance import has_work, readable
from scheduler_kit import BASE, DATA, SPEC, Cluster, checkpoint

A, B, STRANGER = ClientName("a"), ClientName("b"), ClientName("stranger")
NOTHING: frozenset[Digest] = frozenset()


def manifest(run: str, step: int) -> Digest:
    return checkpoint(run, step).manifest


def test_a_client_without_a_grant_or_job_may_do_nothing() -> None:
    cluster = Cluster()
    cluster.client("a")
    for client in (A, STRANGER):
        assert (readable(cluster.state, client), has_work(cluster.state, client)) == (NOTHING, False)


def test_a_grant_allows_its_runs_inputs_and_kept_checkpoints_and_nobody_elses() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.client("b")
    cluster.experiment(runs=2)
    of = {cluster.grant(run).client: run for run in ("r1", "r2")}
    assert readable(cluster.state, A) == {BASE, DATA}
    cluster.chunk("a/0")
    assert readable(cluster.state, A) == {BASE, DATA, manifest(of[A], 10)}
    assert readable(cluster.state, B) == {BASE, DATA}
    assert has_work(cluster.state, A)
    assert has_work(cluster.state, B)


def test_a_lost_client_may_do_nothing_and_whoever_goes_on_may() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.chunk("a/0")
    cluster.lose("a")
    assert (readable(cluster.state, A), has_work(cluster.state, A)) == (NOTHING, False)
    cluster.client("b")
    assert readable(cluster.state, B) == {BASE, DATA, manifest("r1", 10)}


def test_what_is_left_of_a_finished_run_is_nobodys() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.finish_everything()
    assert readable(cluster.state, A) == NOTHING


def test_a_warm_clone_may_read_where_it_begins() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.finish_everything()
    clone = cluster.clone("r1", replace(SPEC, num_train_epochs=2.0), warm_start="latest")
    assert clone.start is not None
    assert readable(cluster.state, A) == {BASE, DATA, clone.start.manifest}


def test_a_job_allows_what_it_names() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.finish_everything()
    asked = Digest("7" * 64)
    cluster.ask_job(JobKind.EXPORT, "r1", json.dumps({"checkpoint": {"manifest": asked}, "format": "adapter"}))
    kept = {kept.manifest for kept in cluster.run("r1").checkpoints}
    assert readable(cluster.state, A) == {BASE, DATA, asked, *kept}
    assert has_work(cluster.state, A)


def test_whoever_prepares_may_read_what_was_made_of_the_same_model_and_data_but_no_checkpoint() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment("one", runs=1)
    cluster.finish_everything()
    cluster.submit("two")
    assert readable(cluster.state, A) == {BASE, DATA}
    cluster.prepare("e2")
    cluster.finish_everything()
    assert readable(cluster.state, A) == NOTHING


@pytest.mark.parametrize(
    ("other", "allowed"),
    [
        (replace(SPEC, model_name_or_path="other", dataset="other"), NOTHING),
        (replace(SPEC, dataset="other"), {BASE}),
        (replace(SPEC, model_name_or_path="other"), {DATA}),
        (replace(SPEC, model_name_or_path="other", eval_dataset="other"), NOTHING),
        (replace(SPEC, model_name_or_path=SPEC.dataset, dataset=SPEC.model_name_or_path), NOTHING),
    ],
)
def test_whoever_prepares_may_not_read_what_other_experiments_train_on(other: RunSpec, allowed: set[Digest]) -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment("one", runs=1)
    cluster.client("b")
    cluster.submit("two", specs=[other])
    assert [job.client for job in cluster.state.jobs.values()] == [A, B]
    assert readable(cluster.state, B) == allowed
    assert has_work(cluster.state, B)


def test_the_inputs_of_a_deleted_run_are_nobodys() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment("one", runs=1)
    cluster.op("r1", RunOp.DELETE)
    cluster.now_s = cluster.state.timers["sweep:r1"]
    cluster.sweep("r1")
    cluster.submit("two")
    assert readable(cluster.state, A) == NOTHING
