"""kill -9 of trainers, host and clients while they train, one after the other: everything goes on by itself and the weights do not tell."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from experiments import experiment
from real_cluster import RealCluster

from gswarm.sdk import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train]

NAME = "killed"
SEARCH = {"method": "grid", "parameters": {"learning_rate": {"values": [5e-4, 2e-3]}}}


def positions(host: Host) -> dict[str, int]:
    return {run["id"]: run["position"] for run in host.experiment_runs(NAME)}


def wait_for_a_commit(cluster: RealCluster, host: Host) -> dict[str, int]:
    """Where the runs stand once one of them has come further than now, none less far."""
    before = positions(host)
    cluster.wait_for(host, lambda: positions(host) != before)
    after = positions(host)
    assert all(after[run] >= before[run] for run in before)
    return after


def states(host: Host) -> dict[str, str]:
    return {client["name"]: client["state"] for client in host.clients()}


@pytest.mark.timeout(600)  # of a whole story: it only says when something hangs
def test_whoever_is_killed_nothing_that_counted_is_lost(new_cluster: Callable[[], RealCluster], assets: Path) -> None:
    cluster = new_cluster()
    cluster.start_host()
    for name in ("left", "right"):
        cluster.start_client(name)
    cluster.wait_for_clients(2)
    with cluster.api() as host:
        host.submit(experiment(assets, NAME, num_train_epochs=16, chunks={"num_chunks": 2}, search=SEARCH))
        cluster.wait_for(host, lambda: host.experiment(NAME)["state"] == "active")
        wait_for_a_commit(cluster, host)
        killed = cluster.trainer_pids("left")
        assert killed
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        cluster.wait_for(host, lambda: bool(set(cluster.trainer_pids("left")) - set(killed)))
        wait_for_a_commit(cluster, host)
    cluster.kill_host()
    cluster.start_host()
    with cluster.api() as host:
        wait_for_a_commit(cluster, host)
        cluster.kill_client("right", signal.SIGTERM)
        cluster.wait_for(host, lambda: states(host)["right"] == "lost")
        assert "SIGTERM" in host.client("right")["lost_reason"], "it handed its work back"
        wait_for_a_commit(cluster, host)
        cluster.start_client("right")
        cluster.wait_for_clients(2)
        counted = wait_for_a_commit(cluster, host)
        trainers = cluster.trainer_pids("left")
        assert trainers
        cluster.kill_client("left")
        psutil.wait_procs([psutil.Process(pid) for pid in trainers if psutil.pid_exists(pid)], timeout=20)
        assert not any(psutil.pid_exists(pid) for pid in trainers), "a trainer outlived its client"
        cluster.wait_for(host, lambda: host.experiment(NAME)["state"] == "idle")
        assert states(host)["left"] == "lost"
        for run, before in counted.items():
            view = host.run(run)
            assert (view["state"], view["position"]) == ("completed", view["total_steps"]), view
            steps = [chunk["to_step"] for chunk in host.timeline(NAME)["chunks"] if chunk["run"] == run]
            assert steps == sorted(set(steps)), "a range of steps counted twice"
            assert before in (0, *steps)
            assert steps[-1] == view["total_steps"]
            assert cluster.cli_json("run", "verify", run)["identical"] is True
