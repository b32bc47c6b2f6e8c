"""Clones, cold and warm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gswarm.domain.errors import ConflictError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import ExperimentId, RequestId, RunId
from gswarm.domain.plan import ExperimentState, RunOp, RunState
from gswarm.domain.spec import Chunks, FinetuningType, Goal, Metric, RunSpec, Stage
from gswarm.scheduler.clones import FIXED_KEYS
from gswarm.scheduler.effects import SendGrant
from gswarm.scheduler.events import RunCloneRequested
from gswarm.scheduler.retention import best_of
from scheduler_kit import SPEC, Cluster, only


@pytest.fixture
def cluster() -> Cluster:
    """``r1`` has 20 of 40 steps; the checkpoint of step 10 was better."""
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.chunk("a/0", [("eval_loss", 1.0)])
    cluster.chunk("a/0", [("eval_loss", 2.0)])
    return cluster


def test_a_cold_clone_begins_at_the_beginning(cluster: Cluster) -> None:
    spec = replace(SPEC, learning_rate=1e-3)
    clone = cluster.clone("r1", spec)
    assert (clone.id, clone.name, clone.parent, clone.spec) == ("r2", "exp-1.c1", "r1", spec)
    assert (clone.start, clone.first_step, clone.position, clone.warm_start) == (None, 0, 0, None)
    assert cluster.clone("r1").name == "exp-1.c2"
    assert cluster.clone("r2").name == "exp-1.c1.c1"


@pytest.mark.parametrize(("wanted", "step"), [("latest", 20), ("best", 10), ("10", 10), ("0020", 20)])
def test_a_warm_clone_begins_at_the_parents_checkpoint(cluster: Cluster, wanted: str, step: int) -> None:
    clone = cluster.clone("r1", warm_start=wanted)
    assert clone.start == next(checkpoint for checkpoint in cluster.run("r1").checkpoints if checkpoint.step == step)
    assert (clone.first_step, clone.position, clone.total_steps, clone.warm_start) == (step, step, 40, wanted)


def test_the_data_position_of_a_warm_clone_continues_in_samples(cluster: Cluster) -> None:
    clone = cluster.clone("r1", replace(SPEC, per_device_train_batch_size=2, gradient_accumulation_steps=2), "latest")
    assert (clone.steps_per_epoch, clone.total_steps, clone.first_step) == (10, 10, 5)
    cluster.op("r1", RunOp.STOP)
    for grant in reversed(list(cluster.run("r1").grants)):
        cluster.give_back(grant)
    assert cluster.grant(clone.id).from_step == 5
    cluster.finish_everything()
    assert (clone.state, clone.position) == (RunState.COMPLETED, 10)


def test_a_warm_clone_of_a_finished_run_starts_from_its_final_weights(cluster: Cluster) -> None:
    cluster.finish_everything()
    error = cluster.refused(cluster.clone_event("r1", warm_start="latest"), InvalidInputError)
    assert "nothing left to train" in error.message
    assert "num_train_epochs" in error.hint
    clone = cluster.clone("r1", replace(SPEC, num_train_epochs=2.0, learning_rate=1e-3), "latest")
    assert (clone.first_step, clone.total_steps, clone.spec.learning_rate) == (40, 80, 1e-3)
    assert clone.start is not None
    assert clone.start.step == 40
    assert cluster.state.experiments[ExperimentId("e1")].state is ExperimentState.ACTIVE
    assert only(cluster.effects, SendGrant)


@pytest.mark.parametrize("key", FIXED_KEYS)
def test_a_clone_keeps_model_and_data(cluster: Cluster, key: str) -> None:
    other = {"stage": Stage.DPO, "train_on_prompt": True, "packing": True, "val_size": 0.5, "max_samples": 3, "cutoff_len": 7}.get(
        key, "other"
    )
    spec: RunSpec = replace(SPEC, **{key: other})  # type: ignore[arg-type]
    error = cluster.refused(cluster.clone_event("r1", spec), InvalidInputError)
    assert key in error.message
    assert "new experiment" in error.hint


@pytest.mark.parametrize("wanted", ["15", "30", "007", "9" * 4301])
def test_a_step_that_is_not_kept_is_a_conflict_that_names_those_that_are(cluster: Cluster, wanted: str) -> None:
    error = cluster.refused(cluster.clone_event("r1", warm_start=wanted), ConflictError)
    assert "10, 20" in error.hint


def test_a_clone_of_more_steps_than_can_be_kept_is_refused() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1, rows=2**62)
    spec = replace(SPEC, num_train_epochs=SPEC.num_train_epochs * 4)
    assert "num_train_epochs" in cluster.refused(cluster.clone_event("r1", spec), LimitError).hint


def test_a_malformed_clone_changes_nothing(cluster: Cluster) -> None:
    cluster.refused(cluster.clone_event("r1", warm_start="newest"), InvalidInputError)
    cluster.refused(cluster.clone_event("r1", replace(SPEC, gradient_accumulation_steps=0)), InvalidInputError)
    cluster.refused(RunCloneRequested(RequestId("c"), RunId("r7"), SPEC, ()), NotFoundError)


def test_a_clone_must_have_as_many_steps_as_chunks() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1, chunks=Chunks(num_chunks=8))
    error = cluster.refused(cluster.clone_event("r1", replace(SPEC, per_device_train_batch_size=8)), InvalidInputError)
    assert "num_chunks is 8" in error.message


def test_without_a_checkpoint_there_is_no_warm_start() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    for wanted in ("latest", "best", "0"):
        error = cluster.refused(cluster.clone_event("r1", warm_start=wanted), ConflictError)
        assert "no checkpoint yet" in error.hint


def test_best_needs_the_metric(cluster: Cluster) -> None:
    checkpoints = cluster.run("r1").checkpoints
    assert best_of(checkpoints, Metric("accuracy")) is None
    best = best_of(checkpoints, Metric("eval_loss", Goal.MAXIMIZE))
    assert best is not None
    assert best.step == 20


def test_best_without_the_metric_says_so() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.chunk("a/0", [("loss", 1.0)])
    error = cluster.refused(cluster.clone_event("r1", warm_start="best"), ConflictError)
    assert "eval_loss" in error.hint


@pytest.mark.parametrize("changed", [{"lora_rank": 4}, {"finetuning_type": FinetuningType.FULL}])
def test_a_warm_clone_whose_weights_cannot_fit_is_refused(cluster: Cluster, changed: dict[str, Any]) -> None:
    spec = replace(SPEC, **changed)
    error = cluster.refused(cluster.clone_event("r1", spec, "latest"), InvalidInputError)
    assert "no weight of the parent would fit" in error.message
    assert cluster.clone("r1", spec).start is None


def test_clone_against_delete(cluster: Cluster) -> None:
    clone = cluster.clone("r1", warm_start="latest")
    cluster.op("r1", RunOp.DELETE)
    assert cluster.clone("r1", warm_start="best").start is not None, "a deletion that can be undone can be cloned"
    cluster.now_s += 600
    cluster.sweep("r1")
    error = cluster.refused(cluster.clone_event("r1"), ConflictError)
    assert isinstance(error, ConflictError)
    assert error.possible == ()
    cluster.finish_everything()
    assert cluster.run(clone.id).state is RunState.COMPLETED


def test_a_deleted_experiment_takes_no_clones(cluster: Cluster) -> None:
    cluster.experiment_op("e1", RunOp.DELETE)
    cluster.refused(cluster.clone_event("r1"), ConflictError)


def test_a_double_click_makes_one_clone(cluster: Cluster) -> None:
    event = cluster.clone_event("r1")
    cluster.step(event)
    cluster.step(event)
    assert list(cluster.state.runs) == ["r1", "r2"]
