"""Trainers, clients and hosts that die at every moment of a commit, freeze or run out of memory: nothing is lost, nothing counts twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from armed_cluster import HOST, ArmedCluster, check_identical, check_stopped, in_lanes, moments, out_of_memory, wait_until
from experiments import experiment
from real_cluster import LEASE_TIMEOUT_S, freeze

from gswarm.cli.chaos_deeds import Deed, local_clients

pytestmark = [pytest.mark.e2e, pytest.mark.train]

SEARCH = {"method": "grid", "parameters": {"learning_rate": {"values": [5e-4, 2e-3]}}}
CLIENTS = ("left", "right")
OUT_OF_MEMORY, ORPHANED = "trainer: out of memory", "client: its trainer outlives it"
LOOKALIKE = "import signal; print(flush=True); signal.pause()"
STEP_S = 0.15


@contextmanager
def armed_cluster(root: Path) -> Iterator[ArmedCluster]:
    cluster = ArmedCluster(root)
    cluster.slow_down(STEP_S)
    try:
        cluster.start_host()
        for name in CLIENTS:
            cluster.start_client(name)
        cluster.wait_for_clients(2)
        yield cluster
    finally:
        clients = [client.process for client in local_clients(homes(cluster), None)]
        for client in clients:
            client.terminate()  # also one that chaos has started
        psutil.wait_procs(clients, 60)
        cluster.close()


def homes(cluster: ArmedCluster) -> list[Path]:
    return [cluster.root / f"client-{name}" for name in CLIENTS]


@pytest.mark.timeout(1200)
def test_no_death_and_no_sleep_at_any_moment_tells_in_the_weights(tmp_path: Path, assets: Path) -> None:
    """Two runs on two clients, far longer than the test. In the end chaos breaks what is left, and verifies."""
    with armed_cluster(tmp_path) as cluster:
        with cluster.api() as host:
            host.submit(experiment(assets, "deaths", num_train_epochs=400, chunks={"num_chunks": 4}, search=SEARCH))
            the_host_stands_still(cluster)
            cluster.wait_for(host, lambda: host.experiment("deaths")["state"] == "active")
            runs = [run["id"] for run in host.experiment_runs("deaths")]
            cluster.wait_for(host, lambda: all(host.run(run)["position"] > 0 for run in runs))
            assert not cluster.events("ClientLost"), "the host stood still, not the clients"
        a_trainer_stands_still(cluster, "left")
        everybody_dies_at_every_moment(cluster)
        with cluster.api() as host:
            said = "".join(cluster.cli("run", "logs", run).stdout for run in runs)
            assert "ended by SIGKILL; the machine may be out of memory" in said
            verified = chaos_lists_breaks_and_verifies(cluster)
            assert verified <= set(runs)
            check_stopped(cluster, host, "deaths")
            check_identical(host, sorted(set(runs) - verified))


def the_host_stands_still(cluster: ArmedCluster) -> None:
    """For longer than a lease."""
    assert cluster.host_process is not None
    cluster.host_process.send_signal(signal.SIGSTOP)
    cluster.let_pass(LEASE_TIMEOUT_S + 2)
    cluster.host_process.send_signal(signal.SIGCONT)


def everybody_dies_at_every_moment(cluster: ArmedCluster) -> None:
    """Host, trainers and clients side by side, each at its moments one after another: so that some die while others are away."""
    by_kind = {kind: [moment for moment in moments() if moment.startswith(kind)] for kind in ("trainer", "client", "host")}
    assert [len(found) for found in by_kind.values()] == [4, 9, 6]
    halves = [OUT_OF_MEMORY, ORPHANED, *by_kind["client"], *by_kind["trainer"]]

    def act(lane: str, moment: str) -> None:
        if moment == OUT_OF_MEMORY:
            a_trainer_runs_out_of_memory(cluster, lane)
        elif moment == ORPHANED:
            a_trainer_outlives_its_client(cluster, lane)
        else:
            cluster.kill_at(lane, moment)

    in_lanes({HOST: by_kind["host"], "left": halves[::2], "right": halves[1::2]}, act)


def a_trainer_runs_out_of_memory(cluster: ArmedCluster, name: str) -> None:
    """The kernel kills it; its run is told why, and goes on."""
    with cluster.trainer_death(name):
        wait_until(lambda: bool(cluster.trainer_pids(name)), f"{name} trains")
        [pid] = cluster.trainer_pids(name)
        with out_of_memory(pid):
            wait_until(lambda: not psutil.pid_exists(pid), "it is killed")
    event = [event for event in cluster.events("ChunkFailed") if event["client"] == name][-1]
    assert event["failure"]["code"] == "trainer_died", event
    assert "ended by SIGKILL; the machine may be out of memory" in event["failure"]["message"], event


def a_trainer_outlives_its_client(cluster: ArmedCluster, name: str) -> None:
    """It holds the slot's lock: the next client ends it before another process trains there."""
    orphan = psutil.Process(cluster.orphan_trainer(name))
    assert orphan.status() == psutil.STATUS_STOPPED
    cluster.start_client(name)
    said = f"process {orphan.pid}, which an earlier client started, still holds slot-0: it is killed"
    wait_until(lambda: said in cluster.log(f"client-{name}.log", 1_000_000), f"{name} finds the orphan")
    counted = len(cluster.commits_of(name))
    wait_until(lambda: len(cluster.commits_of(name)) > counted, f"{name} goes on behind the orphan")
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def a_trainer_stands_still(cluster: ArmedCluster, name: str) -> None:
    """For longer than a lease, and shorter than a step may take: its client keeps the lease, and it goes on. Nobody else dies."""
    wait_until(lambda: bool(cluster.trainer_pids(name)), f"{name} trains")
    [pid] = cluster.trainer_pids(name)
    freeze(pid)
    cluster.let_pass(LEASE_TIMEOUT_S + 2)
    counted = len(cluster.commits_of(name))
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: len(cluster.commits_of(name)) > counted, f"the trainer of {name} goes on")
    assert cluster.trainer_pids(name) == [pid]
    assert not cluster.failures_of(name)
    assert not cluster.events("ClientLost")


def chaos_lists_breaks_and_verifies(cluster: ArmedCluster) -> set[str]:
    """``gswarm chaos`` touches only this cluster's clients and trainers, and only when it is told to. Returns the runs that it verified:
    those that came further meanwhile, which one with its client away need not have."""
    stranger = subprocess.Popen(
        [sys.executable, "-S", "-c", LOOKALIKE, "-m", "gswarm", "client", "connect", "--name", "left"], stdout=subprocess.PIPE
    )
    try:
        wait_until(lambda: all(cluster.trainer_pids(name) for name in CLIENTS), "both clients train")
        where = [text for home in homes(cluster) for text in ("--data-dir", str(home))]
        listed = cluster.cli_json("chaos", *where)
        assert {row["deed"] for row in listed} == set(Deed)
        ours = {cluster.clients[name].pid for name in CLIENTS} | {pid for name in CLIENTS for pid in cluster.trainer_pids(name)}
        assert {row["pid"] for row in listed} == ours
        assert not [pid for pid in ours if not psutil.pid_exists(pid)], "a list killed somebody"
        assert cluster.cli_json("chaos", "--data-dir", str(cluster.root / "elsewhere")) == []
        report = cluster.cli_json("chaos", "--yes", "--for", "8s", "--every", "1s", "--freeze", "7s", "--seed", "4", *where)
        assert report["ok"] is True, report
        assert sum(report["counts"].values()) == len(report["deeds"]) >= 1
        verified = {row["run"]: row["identical"] for row in report["runs"]}
        assert verified, report
        assert verified == dict.fromkeys(verified, True)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.communicate()
    return set(verified)
