"""kill -9 of clients and of the host while they train: everything goes on by itself and the weights do not tell."""

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

SEARCH = {"method": "grid", "parameters": {"learning_rate": {"values": [5e-4, 2e-3]}}}


def submit_and_wait_for_first_commit(cluster: RealCluster, host: Host, assets: Path, name: str) -> list[str]:
    host.submit(experiment(assets, name, num_train_epochs=8, chunks={"num_chunks": 2}, search=SEARCH))
    cluster.wait_for(host, lambda: host.experiment(name)["state"] == "active")
    runs = [run["id"] for run in host.experiment_runs(name)]
    cluster.wait_for(host, lambda: any(host.run(run)["position"] > 0 for run in runs))
    return runs


def finish_and_verify(cluster: RealCluster, host: Host, name: str, runs: list[str]) -> None:
    cluster.wait_for(host, lambda: host.experiment(name)["state"] == "idle")
    for run in runs:
        view = host.run(run)
        assert view["state"] == "completed", view
        steps = [chunk["to_step"] for chunk in host.timeline(name)["chunks"] if chunk["run"] == run]
        assert steps == sorted(set(steps)), "a range of steps counted twice"
        assert steps[-1] == view["total_steps"]
        assert cluster.cli_json("run", "verify", run)["identical"] is True


def test_a_killed_client_loses_nothing_that_counted(new_cluster: Callable[[], RealCluster], assets: Path) -> None:
    cluster = new_cluster()
    cluster.start_host()
    cluster.start_client("left")
    cluster.start_client("right")
    cluster.wait_for_clients(2)
    with cluster.api() as host:
        runs = submit_and_wait_for_first_commit(cluster, host, assets, "killed-client")
        trainers = cluster.trainer_pids("left")
        positions = {run: host.run(run)["position"] for run in runs}
        cluster.kill_client("left")
        psutil.wait_procs([psutil.Process(pid) for pid in trainers if psutil.pid_exists(pid)], timeout=20)
        assert not any(psutil.pid_exists(pid) for pid in trainers), "a trainer outlived its client"
        finish_and_verify(cluster, host, "killed-client", runs)
        assert all(host.run(run)["position"] >= positions[run] for run in runs)
        assert {client["name"]: client["state"] for client in host.clients()}["left"] == "lost"


def test_a_killed_host_goes_on_where_it_was(new_cluster: Callable[[], RealCluster], assets: Path) -> None:
    cluster = new_cluster()
    cluster.start_host()
    cluster.start_client("only")
    cluster.wait_for_clients(1)
    with cluster.api() as host:
        runs = submit_and_wait_for_first_commit(cluster, host, assets, "killed-host")
    cluster.kill_host()
    cluster.start_host()
    with cluster.api() as host:
        finish_and_verify(cluster, host, "killed-host", runs)


def test_a_killed_trainer_is_replaced(new_cluster: Callable[[], RealCluster], assets: Path) -> None:
    cluster = new_cluster()
    cluster.start_host()
    cluster.start_client("only")
    cluster.wait_for_clients(1)
    with cluster.api() as host:
        runs = submit_and_wait_for_first_commit(cluster, host, assets, "killed-trainer")
        for pid in cluster.trainer_pids("only"):
            os.kill(pid, signal.SIGKILL)
        finish_and_verify(cluster, host, "killed-trainer", runs)


def test_a_client_told_to_end_hands_its_work_back(new_cluster: Callable[[], RealCluster], assets: Path) -> None:
    cluster = new_cluster()
    cluster.start_host()
    cluster.start_client("left")
    cluster.start_client("right")
    cluster.wait_for_clients(2)
    with cluster.api() as host:
        runs = submit_and_wait_for_first_commit(cluster, host, assets, "handed-back")
        cluster.kill_client("left", signal.SIGTERM)
        finish_and_verify(cluster, host, "handed-back", runs)
