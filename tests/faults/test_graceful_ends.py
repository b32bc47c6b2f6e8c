"""SIGTERM: a client finishes its step, checkpoints and returns its leases, counted in steps; a host leaves a snapshot of its end.

The machine is a bad one meanwhile: the host's logs lie on a disk that is full until the host is started again, and while the client is away
a bit of its checkpoint flips. The weights must not tell; the logs must.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from experiments import experiment
from faults_rig import TinyDisk, check_ledger, flip_bit, ledger, tiny_disk
from real_cluster import Json, RealCluster, freeze
from steering import mid_chunk, until

from gswarm.sdk import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train]

STEPS_PER_CHUNK = 26
IN_FLIGHT_STEPS = 2
"""The step that the trainer is in when it is told to stop, and one that it finished without having said so."""
SETTLED_S = 0.6
"""Three times as long as a metric waits for company."""


@pytest.fixture
def logs_disk(tmp_path: Path) -> Iterator[TinyDisk]:
    with tiny_disk(tmp_path / "cluster" / "host-data" / "logs") as disk:
        disk.fill()
        yield disk


@pytest.fixture
def cluster(tmp_path: Path, logs_disk: TinyDisk) -> Iterator[RealCluster]:
    made = RealCluster(tmp_path / "cluster")
    try:
        yield made
    finally:
        made.close()


def frozen_step(cluster: RealCluster, host: Host, run: str) -> int:
    """Stops the trainer process in the middle of a chunk and answers the last step that it spoke of."""
    mid_chunk(host, run)
    for pid in cluster.trainer_pids("one"):
        freeze(pid)
    step = -1
    while step != (step := host.run(run)["current_step"]):
        time.sleep(SETTLED_S)
    return step


def end_client(cluster: RealCluster) -> int:
    """SIGTERM while its trainer stands still, which then goes on; the exit code."""
    trainers, process = cluster.trainer_pids("one"), cluster.clients.pop("one")
    process.send_signal(signal.SIGTERM)
    for pid in trainers:
        os.kill(pid, signal.SIGCONT)
    return process.wait(timeout=60)


def checkpoint_blob(cluster: RealCluster) -> Path:
    """The newest blob in the client's pool that a trainer would load weights from."""
    blobs = (cluster.root / "client-one" / "clients" / "one" / "pool" / "blobs").rglob("*")
    tensors = [blob for blob in blobs if blob.is_file() and b'"dtype"' in blob.read_bytes()[:4096]]
    return max(tensors, key=lambda blob: blob.stat().st_mtime_ns)


def test_sigterm_costs_no_step_and_a_damaged_checkpoint_no_weight(cluster: RealCluster, logs_disk: TinyDisk, assets: Path) -> None:
    cluster.start_host()
    cluster.start_client("one")
    cluster.wait_for_clients(1)
    with cluster.api() as host:
        host.submit(experiment(assets, "interrupted", num_train_epochs=3, chunks={"num_chunks": 1}))
        cluster.wait_for(host, lambda: host.experiment("interrupted")["state"] == "active")
        (run,) = (one["id"] for one in host.experiment_runs("interrupted"))
        seen = frozen_step(cluster, host, run)
        assert end_client(cluster) == 0
        left = until(host, run, lambda one: one["state"] == "queued")
        assert seen <= left["position"] <= seen + IN_FLIGHT_STEPS
        assert host.status()["open_leases"] == 0
        client: Json = host.client("one")
        assert (client["state"], "SIGTERM" in client["lost_reason"]) == ("lost", True), client
        damaged = checkpoint_blob(cluster)
        flip_bit(damaged, 8 * 3000 + 5)
    end_host(cluster)
    assert "lines of runs' logs are being lost: the log of" in cluster.log("host.log", 100_000)
    logs_disk.empty()
    cluster.start_host()
    cluster.start_client("one")
    with cluster.api() as host:
        cluster.wait_for(host, lambda: host.run(run)["state"] in ("completed", "failed"))
        assert left["position"] in [start for start, _ in ledger(host, "interrupted", run)]
        check_ledger(host, "interrupted", run)
        assert cluster.cli_json("run", "verify", run)["identical"] is True
        (aside,) = (cluster.root / "client-one" / "clients" / "one" / "pool" / "corrupt").iterdir()
        assert f"blob {damaged.name} was damaged on this disk: it is set aside as {aside}" in cluster.log("client-one.log", 100_000)
        said = cluster.cli("run", "logs", run).stdout
        assert f"blob {damaged.name} was damaged on this client's disk: it was set aside" in said


def end_host(cluster: RealCluster) -> None:
    """SIGTERM; what it leaves needs no replay."""
    cluster.kill_host(signal.SIGTERM)
    assert cluster.host_process is not None
    assert cluster.host_process.returncode == 0
    folder = cluster.data_dir / "host"
    with closing(sqlite3.connect(folder / "journal.db")) as journal:
        newest = journal.execute("SELECT MAX(seq) FROM entries").fetchone()[0]
    assert max(int(file.stem) for file in (folder / "snapshots").glob("*.snapshot")) == newest
