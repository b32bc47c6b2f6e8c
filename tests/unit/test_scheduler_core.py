"""Requests, ids, names, jobs, roots, limits, and the state as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gswarm.client import agent
from gswarm.domain.errors import ConflictError, FencedError, InvalidInputError, InvariantError, LimitError, NotFoundError
from gswarm.domain.ids import ClientName, ExperimentId, RequestId, RunId
from gswarm.domain.plan import ExperimentState, JobKind, RunOp, RunSize, RunState
from gswarm.domain.spec import Chunks, ExperimentSpec, Resources
from gswarm.scheduler import core, experiments, invariants, job_index, jobs
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import SendGrant, SendJob, SendStop, StartTimer
from gswarm.scheduler.events import ClientDrainRequested, ExperimentOpRequested, ExperimentSubmitted, JobFinished, JobRequested, TimerFired
from scheduler_kit import BASE, DATA, FATAL, SPEC, STATE, Cluster, only, prepare_jobs


def submitted(request: str = "q", name: str = "x", runs: int = 1) -> ExperimentSubmitted:
    return ExperimentSubmitted(RequestId(request), ExperimentSpec(name, SPEC), (SPEC,) * runs, ((),) * runs)


def test_the_same_request_answers_the_same() -> None:
    cluster = Cluster()
    cluster.step(submitted())
    assert cluster.step(submitted()) == []
    assert cluster.state.result_of(RequestId("q")) == "e1"
    assert list(cluster.state.experiments) == ["e1"]
    assert cluster.state.result_of(RequestId("other")) is None


def test_a_request_id_means_one_thing() -> None:
    cluster = Cluster()
    cluster.step(submitted())
    cluster.refused(submitted(name="y"), ConflictError)
    cluster.refused(submitted(request=""), InvalidInputError)


def test_a_refused_request_may_be_tried_again() -> None:
    cluster = Cluster()
    event = ExperimentOpRequested(RequestId("q"), ExperimentId("e1"), RunOp.DELETE)
    cluster.refused(event, NotFoundError)
    cluster.step(submitted("other"))
    cluster.step(event)
    assert cluster.state.result_of(RequestId("q")) == "e1"


def test_only_the_newest_requests_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "REQUESTS_MAX", 3)
    cluster = Cluster()
    for number in range(5):
        cluster.step(submitted(f"q{number}", f"x{number}"))
    assert list(cluster.state.requests) == ["q2", "q3", "q4"]


def test_a_prepared_experiment_has_its_runs() -> None:
    cluster = Cluster()
    effects = cluster.client("a")
    assert effects == []
    cluster.submit(runs=2)
    assert cluster.state.experiments[ExperimentId("e1")].state is ExperimentState.PREPARING
    assert only(cluster.effects, SendJob)
    cluster.prepare("e1")
    experiment = cluster.state.experiments[ExperimentId("e1")]
    assert (experiment.state, experiment.runs, experiment.planned) == (ExperimentState.ACTIVE, ["r1", "r2"], ())
    run = cluster.run("r2")
    assert (run.name, run.total_steps, run.base, run.data, run.changes) == ("exp-2", 40, BASE, DATA, (("learning_rate", "1e-4"),))


def test_jobs_wait_for_a_client_and_follow_a_lost_one() -> None:
    cluster = Cluster()
    cluster.submit()
    assert not prepare_jobs(cluster.effects)
    assert prepare_jobs(cluster.client("a")) == ["j1"]
    assert prepare_jobs(cluster.client("b")) == []
    assert only(cluster.lose("a"), SendJob) == [SendJob(ClientName("b"), cluster.state.index.jobs.open_ids()[0])]
    cluster.refused(JobFinished(ClientName("a"), cluster.state.index.jobs.open_ids()[0], "{}"), FencedError)
    assert prepare_jobs(cluster.client("b", incarnation="i2")) == ["j1"], "the restarted client does not have it any more"
    assert prepare_jobs(cluster.client("b", incarnation="i2", jobs=["j1"])) == []


def test_jobs_are_spread() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.client("b")
    for name in ("x", "y", "z"):
        cluster.submit(name)
    assert [job.client for job in cluster.state.jobs.values()] == ["a", "b", "a"]


def test_jobs_wait_until_a_client_has_room_for_them() -> None:
    """A client refuses what is too much for it, and a refused job would have failed for good."""
    cluster = Cluster()
    cluster.client("a")
    for number in range(jobs.PER_CLIENT_MAX + 2):
        cluster.submit(f"x{number}")
    waiting = cluster.state.index.jobs.waiting()
    assert len(waiting) == 2
    assert jobs.PER_CLIENT_MAX < agent.JOBS_LIMIT
    assert cluster.prepare("e1")[0] == SendJob(ClientName("a"), waiting[0].id)
    assert prepare_jobs(cluster.client("b")) == [waiting[1].id]


def test_a_draining_client_gets_no_jobs() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.step(ClientDrainRequested(ClientName("a"), True))
    cluster.submit()
    assert not prepare_jobs(cluster.effects)


@pytest.mark.parametrize(
    ("failure", "sizes", "reason"),
    [
        (FATAL, (), "not a number"),
        (None, (), "1 runs were to be prepared, but 0"),
        (None, (RunSize(5, 5, 5, 0, BASE, DATA),), "num_chunks is 8, but an epoch has only 5"),
        (None, (RunSize(5, 0, 5, 0, BASE, DATA),), "nothing to train"),
        (None, (RunSize(2**63, 2**63, 5, 0, BASE, DATA),), "is the most"),
        (None, (RunSize(9, 9, 9, 2**64 - 1, BASE, DATA),), "is the most"),
    ],
)
def test_a_failed_preparation_rejects_the_experiment(failure: object, sizes: tuple[RunSize, ...], reason: str) -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.submit(chunks=Chunks(num_chunks=8))
    cluster.step(JobFinished(ClientName("a"), cluster.state.index.jobs.open_ids()[0], None if failure else "{}", failure, sizes))  # type: ignore[arg-type]
    experiment = cluster.state.experiments[ExperimentId("e1")]
    assert experiment.state is ExperimentState.REJECTED
    assert experiment.failure is not None
    assert reason in experiment.failure.message
    assert not cluster.state.runs
    cluster.submit()
    assert cluster.state.find_experiment("exp").id == "e2", "the name of a rejected experiment is free"


def test_a_job_has_one_outcome() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.submit()
    job = cluster.state.index.jobs.open_ids()[0]
    cluster.refused(JobFinished(ClientName("a"), job), InvalidInputError)
    cluster.prepare("e1")
    cluster.refused(JobFinished(ClientName("a"), job, "{}"), FencedError)


def test_verify_needs_a_checkpoint_and_leaves_its_result() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.refused(JobRequested(RequestId("v"), JobKind.VERIFY, RunId("r1"), "{}"), ConflictError)
    cluster.refused(JobRequested(RequestId("v"), JobKind.VERIFY, RunId("r9"), "{}"), NotFoundError)
    cluster.refused(JobRequested(RequestId("v"), JobKind.PREPARE, RunId("r1"), "{}"), InvalidInputError)
    cluster.chunk("a/0")
    job = cluster.ask_job(JobKind.VERIFY, "r1")
    assert only(cluster.effects, SendJob)
    cluster.step(JobFinished(ClientName("a"), job, '{"identical": true}'))
    assert cluster.run("r1").verification == '{"identical": true}'


def test_a_swept_run_takes_its_jobs_along() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.chunk("a/0")
    job = cluster.ask_job(JobKind.EXPORT, "r1")
    cluster.op("r1", RunOp.DELETE)
    cluster.refused(JobRequested(RequestId("v"), JobKind.EXPORT, RunId("r1"), "{}"), ConflictError)
    cluster.now_s += 600
    cluster.sweep("r1")
    assert cluster.state.jobs[job].failure is not None
    cluster.refused(JobFinished(ClientName("a"), job, "{}"), FencedError)


def test_finished_jobs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_index, "FINISHED_MAX", 2)
    monkeypatch.setattr(jobs, "OPEN_MAX", 4)
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.chunk("a/0")
    asked = [cluster.ask_job(JobKind.EXPORT, "r1") for _ in range(4)]
    cluster.refused(JobRequested(RequestId("v"), JobKind.EXPORT, RunId("r1"), "{}"), LimitError)
    for job in reversed(asked):
        cluster.step(JobFinished(ClientName("a"), job, "{}"))
        cluster.reload()
    assert list(cluster.state.jobs) == [asked[1], asked[0]]


def test_roots_are_what_something_refers_to() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    assert cluster.state.live_roots() == (BASE, DATA)
    cluster.chunk("a/0")
    parent = cluster.run("r1").checkpoints[0].manifest
    clone = cluster.clone("r1", warm_start="latest")
    job = cluster.ask_job(JobKind.EXPORT, "r1", json.dumps({"checkpoint": "7" * 64}))
    assert set(cluster.state.live_roots()) == {BASE, DATA, parent, "7" * 64}
    cluster.step(JobFinished(ClientName("a"), job, json.dumps({"manifest": "8" * 64})))
    cluster.op("r1", RunOp.DELETE)
    cluster.now_s += 600
    cluster.sweep("r1")
    assert parent in cluster.state.live_roots(), "a clone's start outlives its parent"
    cluster.op(clone.id, RunOp.DELETE)
    cluster.now_s += 600
    cluster.sweep(clone.id)
    assert set(cluster.state.live_roots()) == {"7" * 64, "8" * 64}


def test_names_and_ids_are_found() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment("one", runs=2)
    state = cluster.state
    assert state.find_run("r2") is state.find_run("one-2")
    assert state.find_experiment("one") is state.find_experiment("e1")
    for missing in ("r3", "nobody"):
        with pytest.raises(NotFoundError):
            state.find_run(missing)
        with pytest.raises(NotFoundError):
            state.find_experiment(missing)


def test_two_experiments_of_one_name_are_a_conflict_until_one_is_deleted() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment("one")
    cluster.refused(submitted(name="one"), ConflictError)
    cluster.experiment_op("e1", RunOp.DELETE)
    assert cluster.state.experiments[ExperimentId("e1")].state is ExperimentState.DELETED
    cluster.experiment("one")
    assert cluster.state.find_experiment("one").id == "e2"
    cluster.refused(cluster.op_event("r1", RunOp.RESTORE), ConflictError)
    with pytest.raises(ConflictError, match="r1, r2"):
        cluster.state.find_run("one-1")
    cluster.now_s += 600
    cluster.sweep("r1")
    assert cluster.state.find_run("one-1").id == "r2"


def test_operations_on_an_experiment_reach_every_run_that_allows_them() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=3)
    cluster.finish_everything()
    cluster.clone("r1")
    experiment = cluster.state.experiments[ExperimentId("e1")]
    assert experiment.state is ExperimentState.ACTIVE
    cluster.experiment_op("e1", RunOp.STOP)
    assert [cluster.run(run).state for run in experiment.runs] == [RunState.COMPLETED] * 3 + [RunState.STOPPING]
    event = ExperimentOpRequested(RequestId("s"), ExperimentId("e1"), RunOp.STOP)
    error = cluster.refused(event, ConflictError)
    assert isinstance(error, ConflictError)
    assert error.possible == (RunOp.RESUME, RunOp.DELETE)
    cluster.refused(replace(event, op=RunOp.CLONE), InvalidInputError)
    cluster.experiment_op("e1", RunOp.DELETE)
    cluster.experiment_op("e1", RunOp.RESTORE)
    assert experiment.state is ExperimentState.IDLE
    cluster.experiment_op("e1", RunOp.RESUME)
    assert experiment.state is ExperimentState.ACTIVE


def test_deleting_an_experiment_in_preparation_cancels_it() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.submit()
    job = cluster.state.index.jobs.open_ids()[0]
    cluster.refused(ExperimentOpRequested(RequestId("s"), ExperimentId("e1"), RunOp.STOP), ConflictError)
    cluster.experiment_op("e1", RunOp.DELETE)
    cluster.refused(JobFinished(ClientName("a"), job, "{}"), FencedError)
    cluster.refused(ExperimentOpRequested(RequestId("d"), ExperimentId("e1"), RunOp.DELETE), ConflictError)


def test_the_last_active_run_can_be_stopped_and_resumed() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.op("r1", RunOp.STOP)
    cluster.commit(cluster.grant("r1"), 5)
    assert cluster.state.experiments[ExperimentId("e1")].state is ExperimentState.IDLE
    cluster.op("r1", RunOp.RESUME)
    assert cluster.state.experiments[ExperimentId("e1")].state is ExperimentState.ACTIVE
    cluster.finish_everything()
    assert cluster.run("r1").position == 40


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "RUNS_MAX", 3)
    cluster = Cluster()
    cluster.client("a")
    cluster.refused(submitted(runs=4), LimitError)
    cluster.refused(submitted(runs=0), InvalidInputError)
    cluster.refused(replace(submitted(runs=2), changes=()), InvalidInputError)
    cluster.experiment(runs=3)
    cluster.refused(cluster.clone_event("r1"), LimitError)


@pytest.mark.parametrize("resources", [Resources(gpus_per_run=0), Resources(weight=0.0), Resources(max_skew=0)])
def test_impossible_resources_are_refused(resources: Resources) -> None:
    cluster = Cluster()
    cluster.refused(replace(submitted(), spec=ExperimentSpec("x", SPEC, resources=resources)), InvalidInputError)


def test_what_must_be_done_again_after_a_restart() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment(runs=3)
    cluster.op("r3", RunOp.DELETE)
    cluster.op("r2", RunOp.STOP)
    cluster.train(cluster.grant("r1"))
    cluster.submit("other")
    cluster.reload()
    assert cluster.state.outstanding_effects() == [StartTimer("sweep:r3", 1_600.0)]
    again = cluster.state.outstanding_effects(ClientName("a"))
    sent = [(effect.grant.run, effect.grant.generation) for effect in only(again, SendGrant)]
    assert sent == [("r1", 2), ("r1", 3), ("r2", 1), ("r2", 2)]
    assert [(effect.run, effect.generation) for effect in only(again, SendStop)] == [("r2", 1), ("r2", 2)]
    assert only(again, SendJob) == [SendJob(ClientName("a"), cluster.state.index.jobs.open_ids()[0])]
    assert cluster.state.outstanding_effects(ClientName("zz")) == []


def test_the_state_survives_json_and_goes_on_the_same() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment("one", runs=5, max_skew=2)
    cluster.experiment("two", runs=2, priority=8)
    cluster.chunk("a/0", [("eval_loss", 0.1)])
    cluster.clone("r1", warm_start="latest")
    cluster.op("r2", RunOp.DELETE)
    twin = Cluster(STATE.validate_python(json.loads(cluster.dump())), cluster.now_s, cluster.requests)
    assert twin.state == cluster.state
    assert twin.dump() == cluster.dump()
    assert b"index" not in cluster.dump()
    for _ in range(10):
        for one in (cluster, twin):
            one.chunk("a/0")
            one.chunk("a/1")
        assert twin.effects == cluster.effects
    cluster.finish_everything()
    twin.finish_everything()
    assert twin.state == cluster.state


def test_a_timer_of_nobody_does_nothing() -> None:
    cluster = Cluster()
    assert cluster.step(TimerFired("sweep:r1")) == []
    assert cluster.step(TimerFired("whatever")) == []


def test_an_impossible_state_is_found() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment(runs=1)
    state: ClusterState = STATE.validate_json(cluster.dump())
    state.runs[RunId("r1")].grants[1].from_step = 9
    with pytest.raises(InvariantError, match="do not follow"):
        invariants.check(state)
    state = STATE.validate_json(cluster.dump())
    state.runs[RunId("r1")].position = 5
    with pytest.raises(InvariantError, match="is at 5"):
        invariants.check(state)
    state = STATE.validate_json(cluster.dump())
    next(slot for slot in state.slots.values() if slot.queue).queue.pop()
    with pytest.raises(InvariantError, match="queue says otherwise"):
        invariants.check(state)
    state = STATE.validate_json(cluster.dump())
    state.index.anywhere += 1
    with pytest.raises(InvariantError, match="the index of anywhere"):
        invariants.check(state)
