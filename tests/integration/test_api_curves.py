"""What the dashboard asks for beyond single runs: curves of an experiment, reasons of refusal, and a clone that is only checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_host import TOTAL_STEPS, ApiHost, api_host, with_runs

from gswarm.domain.ids import RunId
from gswarm.domain.messages import StepMetrics
from gswarm.domain.plan import RunOp, RunState
from gswarm.host.api import curves
from gswarm.scheduler.lifecycle import TABLE, possible_ops, refused_ops


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as running:
        yield running


def get(api: ApiHost, path: str, **query: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {api.bearer['viewer']}"}
    return httpx.get(f"{api.url}/api/v1/{path}", params=query, headers=headers)


def log(api: ApiHost, run: str, *values: float) -> None:
    rows = [StepMetrics(RunId(run), 1, step, 100.0 + step, (("loss", value),)) for step, value in enumerate(values, start=1)]
    api.series.append(rows)


def test_curves_of_all_runs_in_one_answer(api: ApiHost) -> None:
    first, second, third = with_runs(api)
    log(api, first, 3.0, 2.5, 1.0)
    log(api, second, 2.0)
    answer = get(api, "experiments/tiny/metrics", metric="loss").json()
    assert answer["metrics"] == ["loss"]
    assert answer["curves"] == [
        {"run": first, "steps": [1, 2, 3], "values": [3.0, 2.5, 1.0], "at": [101.0, 102.0, 103.0]},
        {"run": second, "steps": [1], "values": [2.0], "at": [101.0]},
    ]
    some = get(api, "experiments/tiny/metrics", metric="loss", run=[second, third], from_step=1, to_step=5).json()
    assert [curve["run"] for curve in some["curves"]] == [second]


def test_metrics_of_evaluations_come_from_commits(api: ApiHost) -> None:
    first, *_ = with_runs(api)
    log(api, first, 3.0)
    reached = api.train(first, eval_loss=1.25)
    answer = get(api, "experiments/tiny/metrics", metric="eval_loss").json()
    assert answer["metrics"] == ["eval_loss", "loss"]
    assert answer["curves"] == [{"run": first, "steps": [reached], "values": [1.25], "at": None}]
    assert get(api, "experiments/tiny/metrics", metric="eval_loss", from_step=reached + 1).json()["curves"] == []


def test_deleted_runs_are_drawn_only_when_asked_for(api: ApiHost) -> None:
    first, second, _ = with_runs(api)
    log(api, first, 1.0)
    log(api, second, 1.0)
    api.bring_to(second, RunState.DELETING)
    assert [curve["run"] for curve in get(api, "experiments/tiny/metrics", metric="loss").json()["curves"]] == [first]
    assert [curve["run"] for curve in get(api, "experiments/tiny/metrics", metric="loss", run=second).json()["curves"]] == [second]


def test_curves_have_limits(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = with_runs(api)
    for run in (first, second, third):
        log(api, run, *[1.0] * 50)
    points = get(api, "experiments/tiny/metrics", metric="loss", points=10).json()["curves"]
    assert all(len(curve["steps"]) <= 10 for curve in points)
    monkeypatch.setattr(curves, "RUNS_MAX", 2)
    assert len(get(api, "experiments/tiny/metrics", metric="loss").json()["curves"]) == 2
    assert get(api, "experiments/tiny/metrics", metric="loss", run="r99").status_code == 404
    assert get(api, "experiments/tiny/metrics", metric="loss", points=1).status_code == 422


@pytest.mark.parametrize("state", list(RunState))
def test_what_is_not_possible_has_a_reason(state: RunState) -> None:
    refused = refused_ops(state)
    assert set(refused) | set(possible_ops(state)) == set(RunOp)
    assert not set(refused) & set(possible_ops(state))
    assert all(refused[op] == TABLE[state][op].reason for op in refused)  # type: ignore[union-attr]


def test_a_run_says_what_it_refuses_and_why(api: ApiHost) -> None:
    first, *_ = with_runs(api)
    run = get(api, f"runs/{first}").json()
    assert set(run["refused"]) == {"resume", "restore"}
    assert run["refused"]["resume"] == "it is running already"


def check(api: ApiHost, run: str, wish: dict[str, Any], role: str = "viewer") -> httpx.Response:
    headers = {"Authorization": f"Bearer {api.bearer[role]}"}
    return httpx.post(f"{api.url}/api/v1/runs/{run}/clone/validate", json=wish, headers=headers)


def test_a_clone_can_be_checked_without_being_made(api: ApiHost) -> None:
    first, *_ = with_runs(api)
    reached = api.train(first)
    before, runs = api.plan.seq, len(api.state.runs)
    planned = check(api, first, {"set": {"learning_rate": "3e-4"}, "warm_start": "latest"}).json()
    assert planned["changes"] == {"learning_rate": "0.0003"}
    assert (planned["start"]["step"], planned["first_step"], planned["total_steps"]) == (reached, reached, TOTAL_STEPS)
    assert check(api, first, {}).json()["start"] is None
    assert (api.plan.seq, len(api.state.runs)) == (before, runs)


@pytest.mark.parametrize(
    ("wish", "status", "says"),
    [
        ({"set": {"learning_rat": 1}}, 400, "learning_rat"),
        ({"set": {"learning_rate": "much"}}, 400, "learning_rate"),
        ({"set": {"dataset": "other"}}, 400, "dataset"),
        ({"warm_start": "latest"}, 409, "no checkpoint"),
        ({"warm_start": "sometimes"}, 400, "warm_start"),
    ],
)
def test_a_check_answers_what_the_clone_would(api: ApiHost, wish: dict[str, Any], status: int, says: str) -> None:
    first, *_ = with_runs(api)
    checked = check(api, first, wish)
    assert checked.status_code == status
    assert says in checked.json()["detail"]
    headers = {"Authorization": f"Bearer {api.bearer['operator']}"}
    made = httpx.post(f"{api.url}/api/v1/runs/{first}/clone", json=wish, headers=headers)
    assert (made.status_code, made.json()["detail"]) == (status, checked.json()["detail"])
