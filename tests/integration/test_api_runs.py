"""Experiments and runs through REST: submit, look, steer; every state and operation of the lifecycle table."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from api_host import EXPERIMENT, TOTAL_STEPS, ApiHost, api_host, with_runs
from host_support import plan_host, registered, submitted

from gswarm.domain.errors import ConflictError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import JobId, RequestId, RunId
from gswarm.domain.messages import StepMetrics
from gswarm.domain.plan import Failure, JobKind, RunOp, RunState
from gswarm.host.api.runs import verify_run
from gswarm.host.journal.protocol import Entry
from gswarm.host.services import HostServices
from gswarm.scheduler.events import ChunkFailed, JobFinished
from gswarm.scheduler.lifecycle import TABLE, Allowed
from gswarm.sdk import Host


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as running:
        yield running


@pytest.fixture
def host(api: ApiHost) -> Iterator[Host]:
    with api.host() as connected:
        yield connected


LEARNING_RATES = [{"learning_rate": "1e-05"}, {"learning_rate": "0.0001"}, {"learning_rate": "0.001"}]
YAML = """
experiment: from-yaml
base: {model_name_or_path: m, dataset: d, learning_rate: 1e-5}
search: {parameters: {lora_rank: {values: [8, 16]}}}
"""


def test_submit_answers_preparing_and_runs_appear_once_prepared(api: ApiHost, host: Host) -> None:
    experiment = host.submit(EXPERIMENT)
    assert (experiment["id"], experiment["state"], experiment["runs"]) == ("e1", "preparing", 3)
    assert host.experiment_runs("e1") == []
    api.join()
    api.prepare()
    experiment = host.experiment("tiny")
    assert (experiment["state"], experiment["runs"], experiment["steps_total"]) == ("active", 3, 3 * TOTAL_STEPS)
    runs = host.runs(experiment="tiny")
    assert [run["changes"] for run in runs] == LEARNING_RATES
    assert runs[0]["slot"] == "left/0"
    assert runs[0]["chunks_total"] == 4
    assert runs[0]["spec"]["learning_rate"] == 1e-5


def test_submit_takes_yaml_and_another_name(api: ApiHost, host: Host, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(YAML)
    assert host.submit(file)["name"] == "from-yaml"
    assert host.submit(file, name="other")["name"] == "other"
    answer = host._transport.call(
        "POST", "/experiments", content=YAML.encode(), headers={"Content-Type": "application/yaml"}, params={"name": "third"}
    )
    assert (answer["name"], answer["spec"]["base"]["learning_rate"]) == ("third", 1e-5)
    with pytest.raises(ConflictError, match="named 'other' already"):
        host.submit(file, name="other")
    with pytest.raises(InvalidInputError, match="name"):
        host.submit(EXPERIMENT, name="no/name")


def test_validate_expands_and_submits_nothing(host: Host) -> None:
    plan = host.validate(EXPERIMENT)
    assert [run["changes"] for run in plan["runs"]] == LEARNING_RATES
    assert plan["spec"]["base"]["lora_rank"] == 8
    assert host.experiments() == []


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"base: {modle_name_or_path: m, dataset: d}", InvalidInputError, "model_name_or_path"),
        (b"base: !!python/object:os.system {}", InvalidInputError, "tag"),
        (b"\xff\xfe", InvalidInputError, "UTF-8"),
        (b"", InvalidInputError, "empty"),
        (b"- 1", InvalidInputError, "mapping"),
        (b"{base: {model_name_or_path: m, dataset: d}, search: {parameters: {seed: {values: []}}}}", InvalidInputError, "values"),
    ],
)
def test_bad_files_get_a_clear_error(host: Host, content: bytes, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        host._transport.call("POST", "/experiments", content=content, headers={"Content-Type": "application/yaml"})
    assert host.experiments() == []


def test_too_many_runs_are_refused(host: Host) -> None:
    huge = {**EXPERIMENT, "search": {"parameters": {key: {"values": list(range(1, 1001))} for key in ("seed", "lora_rank", "max_steps")}}}
    with pytest.raises(LimitError, match="1,000,000,000"):
        host.submit(huge)


def test_a_rejected_experiment_says_why(api: ApiHost, host: Host) -> None:
    host.submit(EXPERIMENT)
    api.join()
    failure = Failure("not_found", "there is no data set tiny-data")
    from api_host import CLIENT

    api.submit(JobFinished(CLIENT, JobId("j1"), failure=failure))
    experiment = host.experiment("e1")
    assert (experiment["state"], experiment["failure"]["message"]) == ("rejected", "client left: there is no data set tiny-data")
    assert host.job("j1")["state"] == "failed"


def test_the_same_request_twice_is_one(api: ApiHost, host: Host) -> None:
    first = host.submit(EXPERIMENT, request_id="once")
    assert host.submit(EXPERIMENT, request_id="once")["id"] == first["id"]
    assert len(host.experiments()) == 1
    with pytest.raises(ConflictError):
        host.submit({**EXPERIMENT, "experiment": "other"}, request_id="once")
    api.join()
    api.prepare()
    run = host.runs()[0]["id"]
    clones = {host.clone_run(run, {"learning_rate": 0.5}, request_id="click")["id"] for _ in range(3)}
    assert len(clones) == 1
    assert len(host.runs()) == 4
    assert host.stop_run(run, request_id="stop")["state"] == host.stop_run(run, request_id="stop")["state"] == "stopping"
    with pytest.raises(InvalidInputError, match="Idempotency-Key"):
        host.stop_run(run, request_id="x" * 129)


# ---- the lifecycle table -------------------------------------------------------------------------------------------------


def operate(host: Host, run: str, op: RunOp) -> dict[str, Any]:
    match op:
        case RunOp.STOP:
            return host.stop_run(run)
        case RunOp.RESUME:
            return host.resume_run(run)
        case RunOp.CLONE:
            return host.clone_run(run, {"learning_rate": 3e-4})
        case RunOp.DELETE:
            return host.delete_run(run)
        case RunOp.RESTORE:
            return host.restore_run(run)


def run_in_state(api: ApiHost, host: Host, state: RunState) -> str:
    first, _, last = with_runs(api)
    run = last if state is RunState.QUEUED else first
    if state is RunState.FAILED:
        grant = api.state.runs[RunId(run)].grants[0]
        api.submit(ChunkFailed(grant.client, RunId(run), grant.generation, Failure("nan_loss", "the loss is NaN")))
    elif state is RunState.PRUNED:
        # Nothing prunes yet: early stopping comes with the search. The operations on it exist all the same.
        api.bring_to(run, RunState.STOPPED)
        api.state.runs[RunId(run)].state = RunState.PRUNED
    else:
        api.bring_to(run, state)
    assert host.run(run)["state"] == state
    return run


@pytest.mark.parametrize("op", list(RunOp))
@pytest.mark.parametrize("state", list(RunState))
def test_every_cell_of_the_lifecycle_table(api: ApiHost, host: Host, state: RunState, op: RunOp) -> None:
    run = run_in_state(api, host, state)
    before = host.run(run)
    cell = TABLE[state][op]
    if isinstance(cell, Allowed):
        after = operate(host, run, op)
        if op is RunOp.CLONE:
            assert after["id"] != run
            assert host.run(run)["state"] == state
        else:
            assert RunState(after["state"]) in {*cell.targets, RunState.RUNNING}
    else:
        with pytest.raises(ConflictError, match=f"cannot {op} {run}: {cell.reason}") as caught:
            operate(host, run, op)
        assert caught.value.possible == tuple(before["possible"])
        assert host.run(run) == before


def restorable(host: Host) -> Any:
    return host._transport.call("GET", "/experiments", params={"restorable": True})["items"]


def test_an_experiment_is_stopped_resumed_deleted_and_restored_as_a_whole(api: ApiHost, host: Host) -> None:
    runs = with_runs(api)
    assert host.stop_experiment("tiny")["states"] == {"stopping": 2, "stopped": 1}
    for run in runs:
        api.give_back(run)
    assert host.experiment("tiny")["state"] == "idle"
    assert "resume" in host.experiment("tiny")["possible"]
    host.resume_experiment("tiny")
    assert host.delete_experiment("tiny")["state"] == "deleted"
    assert host.experiments() == []
    assert [one["id"] for one in restorable(host)] == ["e1"]
    restored = host.restore_experiment("e1")
    assert restorable(host) == []
    assert restored["state"] in ("idle", "active")
    with pytest.raises(ConflictError) as caught:
        host.restore_experiment("e1")
    assert "resume" in caught.value.possible


# ---- clones ----------------------------------------------------------------------------------------------------------------


def test_a_warm_clone_begins_at_the_best_checkpoint_with_its_own_rate(api: ApiHost, host: Host) -> None:
    run = with_runs(api)[0]
    api.train(run, eval_loss=1.0)
    clone = host.clone_run(run, {"learning_rate": "3e-4"}, "best")
    assert (clone["parent"], clone["warm_start"], clone["first_step"]) == (run, "best", 4)
    assert clone["spec"]["learning_rate"] == 3e-4
    assert clone["changes"] == {"learning_rate": "3e-4"}


@pytest.mark.parametrize(
    ("changes", "warm_start", "kind"),
    [
        ({"learning_rat": 1}, None, InvalidInputError),
        ({"learning_rate": "fast"}, None, InvalidInputError),
        ({"dataset": "other"}, None, InvalidInputError),
        ({"per_device_train_batch_size": 0}, None, InvalidInputError),
        ({}, "sometimes", InvalidInputError),
        ({}, "-1", InvalidInputError),
        ({}, 999, ConflictError),
        ({"max_steps": 1}, "latest", InvalidInputError),
    ],
)
def test_a_malformed_clone_changes_nothing(
    api: ApiHost, host: Host, changes: dict[str, Any], warm_start: Any, kind: type[Exception]
) -> None:
    run = with_runs(api)[0]
    api.train(run)
    before = [host.runs(), api.plan.seq]
    with pytest.raises(kind):
        host.clone_run(run, changes, warm_start)
    assert [host.runs(), api.plan.seq] == before


# ---- looking -----------------------------------------------------------------------------------------------------------------


def test_results_are_sorted_by_the_metric_and_runs_without_one_come_last(api: ApiHost, host: Host) -> None:
    first, second, third = with_runs(api, slots=2)
    api.train(first, eval_loss=2.0)
    board = host.leaderboard("tiny")
    assert [(row["rank"], row["id"], row["value"]) for row in board["rows"]] == [(1, first, 2.0), (None, second, None), (None, third, None)]
    api.train(second, eval_loss=1.0)
    api.train(second, eval_loss=1.5)
    rows = host.results("tiny")
    assert [(row["rank"], row["id"], row["value"], row["step"]) for row in rows] == [
        (1, second, 1.0, 4),
        (2, first, 2.0, 4),
        (None, third, None, None),
    ]
    assert rows[0]["checkpoint"] is not None
    assert host.experiment("tiny")["best_run"] == second
    with pytest.raises(NotFoundError, match="no run of e1 has the metric 'eval_los'; there are: eval_loss"):
        host.results("tiny", "eval_los")
    host.delete_run(second)
    assert [row["id"] for row in host.results("tiny")] == [first, third]


def test_importance_compares_the_runs_by_what_they_are(api: ApiHost, host: Host) -> None:
    """Clones count with all that they have from their parents, not only with what was changed."""
    first, second, third = with_runs(api, slots=3)
    for run, loss in ((first, 1.0), (second, 2.0), (third, 3.0)):
        api.train(run, eval_loss=loss)
    little = host.importance("tiny")
    assert (little["runs"], little["runs_min"], little["parameters"]) == (3, 4, [])
    api.train(host.clone_run(first, {"weight_decay": 0.1})["id"], eval_loss=1.0)
    found = host.importance("tiny")
    assert (found["metric"], found["runs"]) == ({"name": "eval_loss", "goal": "minimize"}, 4)
    assert next(one["name"] for one in found["parameters"]) == "learning_rate"
    assert sum(one["share"] for one in found["parameters"]) == pytest.approx(1.0)
    with pytest.raises(NotFoundError):
        host.importance("none")


def test_the_timeline_has_every_commit(api: ApiHost, host: Host) -> None:
    first = with_runs(api)[0]
    for _ in range(3):
        api.train(first)
    chunks = [chunk for chunk in host.timeline("tiny")["chunks"] if chunk["run"] == first]
    assert [(chunk["from_step"], chunk["to_step"]) for chunk in chunks] == [(0, 4), (4, 8), (8, 12)]
    assert chunks[-1]["checkpoint_kept"]


def test_lists_come_in_pages(api: ApiHost, host: Host) -> None:
    runs = with_runs(api)
    page = host._transport.call("GET", "/runs", params={"limit": 1})
    assert [run["id"] for run in page["items"]] == runs[:1]
    rest = host._transport.call("GET", "/runs", params={"limit": 2, "cursor": page["next_cursor"]})
    assert ([run["id"] for run in rest["items"]], rest["next_cursor"]) == (runs[1:], None)
    with pytest.raises(InvalidInputError, match="cursor"):
        host._transport.call("GET", "/runs", params={"cursor": "r99"})
    with pytest.raises(InvalidInputError, match="limit"):
        host._transport.call("GET", "/runs", params={"limit": 0})


def test_deleted_runs_are_listed_only_when_asked_for(api: ApiHost, host: Host) -> None:
    first, *others = with_runs(api)
    api.bring_to(first, RunState.DELETED)
    assert [run["id"] for run in host.runs()] == others
    assert [run["id"] for run in host.runs(states=("deleted",))] == [first]


def test_metrics_show_numbers_that_are_none_as_null(api: ApiHost, host: Host) -> None:
    run = RunId(with_runs(api)[0])
    rows = [StepMetrics(run, 1, step, 100.0 + step, (("loss", 2.0 / step), ("grad_norm", float("nan")))) for step in (1, 2, 3)]
    api.series.append(rows)
    answer = host.metrics(run)
    loss = next(series for series in answer["series"] if series["metric"] == "loss")
    assert [(step, value) for step, value, _ in loss["points"]] == [(1, 2.0), (2, 1.0), (3, 2.0 / 3)]
    view = host.run(run)
    assert (view["current_step"], view["metrics"]["loss"], view["position"]) == (3, 2.0 / 3, 0)
    assert "grad_norm" not in view["metrics"]
    with pytest.raises(NotFoundError, match="has no metric nothing"):
        host.metrics(run, ("nothing",))


def test_explain_and_checkpoints(api: ApiHost, host: Host) -> None:
    run = with_runs(api)[0]
    assert host.checkpoints(run) == []
    assert host.explain(run)["code"] == "training"
    assert "left/0" in host.explain(run)["text"]
    assert host.explain_experiment("tiny")["text"]
    assert run in host.client("left")["slots"][0]["explanation"]
    api.train(run)
    kept = host.checkpoints(run)[0]
    assert (kept["step"], kept["latest"], kept["best"], kept["metrics"]["eval_loss"]) == (4, True, True, 2.0)


def test_what_is_not_there_is_a_404(host: Host) -> None:
    for ask in (host.run, host.experiment, host.client, host.job, host.explain, host.logs, host.stop_run, host.drain_client):
        with pytest.raises(NotFoundError):
            ask("nobody")


# ---- jobs ----------------------------------------------------------------------------------------------------------------------


def test_verify_and_export_are_jobs(api: ApiHost, host: Host) -> None:
    run = with_runs(api)[0]
    with pytest.raises(ConflictError, match="no checkpoint"):
        host.verify_run(run)
    api.train(run, eval_loss=1.0)
    api.train(run, eval_loss=3.0)
    verify = host.verify_run(run)
    assert (verify["kind"], verify["state"], verify["client"]) == (JobKind.VERIFY, "running", "left")
    exported = host.export_run(run, "adapter", "best")
    assert exported["request"]["step"] == 4
    assert host.export_run(run, "adapter", "latest")["request"]["step"] == 8
    assert {job["id"] for job in host.jobs()} >= {verify["id"], exported["id"]}
    with pytest.raises(NotFoundError, match="keeps the steps 4, 8"):
        host.export_run(run, "adapter", 5)
    with pytest.raises(InvalidInputError, match="format"):
        host.export_run(run, "pickle")


def test_the_same_export_request_is_one_job_even_when_best_has_moved(api: ApiHost, host: Host) -> None:
    run = with_runs(api)[0]
    api.train(run, eval_loss=2.0)
    body = {"format": "adapter", "checkpoint": "best"}
    first = host._post(f"/runs/{run}/export", body, request_id="again")
    api.train(run, eval_loss=1.0)
    assert host._post(f"/runs/{run}/export", body, request_id="again")["id"] == first["id"]
    api.bring_to(run, RunState.DELETED)
    with pytest.raises(ConflictError, match="no checkpoint"):
        host.export_run(run)
    assert host._post(f"/runs/{run}/export", body, request_id="again")["id"] == first["id"], "its checkpoint is gone, the job is not"


async def test_a_job_that_is_asked_for_again_is_answered_once_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with plan_host(tmp_path) as plan:
        await plan.submit(registered("a"), submitted(runs=1))
        await plan.prepare()
        await plan.train_chunk("r1")
        services = cast(HostServices, SimpleNamespace(loop=plan.loop))
        began, may_end = threading.Event(), threading.Event()
        flush = plan.journal.append

        def slow(entries: Sequence[Entry]) -> int:
            began.set()
            may_end.wait()
            return flush(entries)

        monkeypatch.setattr(plan.journal, "append", slow)
        first = asyncio.create_task(verify_run(services, "anna", RequestId("again"), "r1"))
        await asyncio.to_thread(began.wait)
        second = asyncio.create_task(verify_run(services, "anna", RequestId("again"), "r1"))
        for _ in range(20):
            await asyncio.sleep(0)
        is_early = second.done()
        may_end.set()
        assert (await first).id == (await second).id
        assert not is_early, "it was answered before the job was on disk"
