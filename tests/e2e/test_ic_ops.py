"""IC Ops on real clusters: every cell of the lifecycle table, by REST and by command line, idle and while steps are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import experiment
from real_cluster import Json, RealCluster
from steering import WAYS, drained, explained, frozen, in_state, mid_chunk, until, values

from gswarm.domain.errors import ConflictError, GswarmError, InvalidInputError
from gswarm.domain.plan import RunOp, RunState
from gswarm.scheduler.lifecycle import TABLE, Refused, possible_ops
from gswarm.sdk import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train]

LONG_ROWS = 1216
ENDLESS = {"max_steps": 1_000_000}
"""A run that is never done: one chunk is an epoch of 300 steps."""
SHORT = {"learning_rate": 1e-3, "weight_decay": 0.0, "max_steps": 3}
BROKEN = {"learning_rate": 100.0, "weight_decay": 100.0, "max_steps": 30}
"""A run that fails after a few steps: the loss is not finite."""


@pytest.fixture(scope="module")
def long_data(assets: Path) -> Path:
    """Conversations for 300 steps an epoch, so that there is time to act in the middle of a chunk."""
    from tiny import write_dataset

    return write_dataset(assets / "long.jsonl", LONG_ROWS)


@pytest.fixture(scope="module")
def host(cluster: RealCluster) -> Iterator[Host]:
    with cluster.api() as connected:
        yield connected


def submit(cluster: RealCluster, host: Host, document: Json) -> list[str]:
    """Ids of the experiment's runs once they are queued."""
    name = host.submit(document)["name"]
    cluster.wait_for(host, lambda: host.experiment(name)["state"] != "preparing")
    assert host.experiment(name)["state"] in ("active", "idle"), host.experiment(name)["failure"]
    return [run["id"] for run in host.experiment_runs(name)]


def until_idle(cluster: RealCluster, host: Host, name: str) -> None:
    cluster.wait_for(host, lambda: host.experiment(name)["state"] == "idle")


def together(*configurations: Json) -> Json:
    """A search over whole configurations."""
    return {"method": "grid", "parameters": {"_": list(configurations)}}


def verified(cluster: RealCluster, run: str) -> bool:
    return bool(cluster.cli_json("run", "verify", run)["identical"])


# ---- the table: what is refused ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_every_state(cluster: RealCluster, host: Host, assets: Path, long_data: Path) -> Iterator[dict[RunState, str]]:
    """A run in every state that lasts, those that train in the middle of a chunk. Their trainers stand still."""
    name = "every-state"
    search = together(SHORT, SHORT | {"learning_rate": 2e-3}, SHORT | {"learning_rate": 3e-3}, BROKEN)
    document = experiment(assets, name, dataset=str(long_data), search=search, chunks={"num_chunks": 1})
    completed, other, third, failed = submit(cluster, host, document)
    until_idle(cluster, host, name)
    running, stopping = (host.clone_run(run, ENDLESS)["id"] for run in (completed, other))
    slots = [mid_chunk(host, run)["slot"] for run in (running, stopping)]
    with frozen(cluster, *(slot.partition("/")[0] for slot in slots)):
        queued, stopped = (host.clone_run(third, ENDLESS)["id"] for _ in range(2))
        host.stop_run(stopped)
        host.stop_run(stopping)
        host.delete_run(other)
        yield {
            RunState.QUEUED: queued,
            RunState.RUNNING: running,
            RunState.STOPPING: stopping,
            RunState.STOPPED: stopped,
            RunState.COMPLETED: completed,
            RunState.FAILED: failed,
            RunState.DELETING: other,
        }
    host.delete_experiment(name)


def refused_in(states: dict[RunState, str], op: RunOp) -> dict[str, str]:
    """Why the operation is refused, by run."""
    return {run: cell.reason for state, run in states.items() if isinstance(cell := TABLE[state][op], Refused)}


def test_each_run_is_in_its_state_and_says_why(host: Host, in_every_state: dict[RunState, str]) -> None:
    runs = in_every_state
    for state, run in runs.items():
        document = host.run(run)
        assert document["state"] == state
        assert document["possible"] == list(possible_ops(state))
    texts = {state: explained(host, run) for state, run in runs.items()}
    assert texts[RunState.RUNNING] == ("training", f"it trains on {host.run(runs[RunState.RUNNING])['slot']}, steps 0 to 300")
    code, text = texts[RunState.QUEUED]
    assert code in ("next", "turn")
    assert "at step 0 of 1000000" in text
    assert texts[RunState.STOPPING][0] == "stopping"
    assert "has ended its grant of steps 0 to 300" in texts[RunState.STOPPING][1]
    assert texts[RunState.STOPPED] == ("stopped", "it was stopped at step 0 of 1000000; resume continues from there")
    assert texts[RunState.COMPLETED] == ("completed", "it has trained all its 3 steps")
    assert texts[RunState.FAILED][0] == "failed"
    assert "the loss is" in texts[RunState.FAILED][1]
    assert "can be restored for another" in texts[RunState.DELETING][1]


@pytest.mark.parametrize("op", RunOp)
def test_what_a_state_refuses_is_said_and_changes_nothing(
    cluster: RealCluster, host: Host, in_every_state: dict[RunState, str], op: RunOp
) -> None:
    refusals = refused_in(in_every_state, op)
    states = {run: state for state, run in in_every_state.items()}
    act = WAYS["rest"](cluster, host)
    before = host.ready()["seq"]
    for run, reason in refusals.items():
        with pytest.raises(ConflictError, match=reason) as refusal:
            act(op, run)
        possible = possible_ops(states[run])
        assert refusal.value.possible == possible
        assert refusal.value.message == f"cannot {op} {run}: {reason} (state {states[run]})"
        assert refusal.value.hint == f"possible now: {', '.join(possible)}"
    if refusals:
        # One command for all of them: each gets its own line, and none keeps the others from theirs.
        said = cluster.cli("run", op.value, *refusals, code=1)
        assert said.stdout == ""
        lines = said.stderr.strip().splitlines()
        assert len(lines) == len(refusals)
        for line, (run, reason) in zip(lines, refusals.items(), strict=True):
            assert line.startswith(f"error: cannot {op} {run}: {reason} (state {states[run]}); possible now: ")
    assert host.ready()["seq"] == before


def test_a_malformed_clone_changes_nothing_and_everyone_goes_on(
    cluster: RealCluster, host: Host, in_every_state: dict[RunState, str], tmp_path: Path
) -> None:
    before = host.ready()["seq"], host.runs()
    for run in in_every_state.values():
        for changes, warm_start, message in (
            ({"learning_rat": 1e-4}, None, "learning_rate"),
            ({"learning_rate": "fast"}, None, "learning_rate"),
            ({"per_device_train_batch_size": 0}, None, "batch"),
            ({"warmup_ratio": 0.1, "warmup_steps": 5}, None, "both set"),
            ({"dataset": "other.jsonl"}, None, "cannot change dataset"),
            ({"per_device_train_batch_size": 2000, "max_steps": 0}, None, "max_steps"),
            ({}, "newest", "warm_start"),
            ({}, "-1", "warm_start"),
        ):
            with pytest.raises(InvalidInputError, match=message):
                host.clone_run(run, changes, warm_start)
        with pytest.raises(GswarmError, match="no checkpoint"):
            host.clone_run(run, ENDLESS, 77)
    said = cluster.cli("run", "clone", in_every_state[RunState.RUNNING], "--set", "learning_rat=1", code=1)
    assert said.stderr.count("\n") == 1
    assert "learning_rate" in said.stderr
    assert (host.ready()["seq"], host.runs()) == before


def test_a_stopping_run_can_be_cloned_resumed_and_deleted(cluster: RealCluster, host: Host, in_every_state: dict[RunState, str]) -> None:
    stopping = in_every_state[RunState.STOPPING]
    for way in WAYS.values():
        act = way(cluster, host)
        clone = act(RunOp.CLONE, stopping, {"learning_rate": 1e-4})
        assert (clone["parent"], clone["state"], clone["spec"]["learning_rate"]) == (stopping, "queued", 1e-4)
        assert act(RunOp.DELETE, clone["id"])["state"] == "deleting"
        assert host.run(stopping)["state"] == "stopping"
        assert act(RunOp.RESUME, stopping)["state"] == "queued"
        assert explained(host, stopping)[0] == "resumes"
        assert act(RunOp.STOP, stopping)["state"] == "stopping"
    assert "its grant of steps 0 to 300" in cluster.cli("run", "explain", stopping).stdout
