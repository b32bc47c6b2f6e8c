"""A host that is set up again from an older backup, while a client trains on with rights that the restored plan never gave out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from experiments import experiment
from faults_rig import check_ledger, ledger
from real_cluster import RealCluster

from gswarm.domain.epochs import epoch_of
from gswarm.sdk import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train]

SEARCH = {"method": "grid", "parameters": {"learning_rate": {"values": [5e-4, 2e-3]}}}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    made = RealCluster(tmp_path / "cluster")
    try:
        yield made
    finally:
        made.close()


def generations(host: Host, name: str) -> dict[str, int]:
    return {run["id"]: run["generation"] for run in host.experiment_runs(name)}


def trained(host: Host) -> int:
    """Steps that count."""
    return sum(run["position"] for run in host.experiment_runs("set-back"))


def test_a_client_ahead_of_a_restored_host_has_nothing_counted_twice(cluster: RealCluster, assets: Path) -> None:
    backup, data_dir = cluster.root / "host.backup", cluster.data_dir
    cluster.start_host()
    cluster.start_client("only")
    cluster.wait_for_clients(1)
    with cluster.api() as host:
        host.submit(experiment(assets, "set-back", num_train_epochs=8, chunks={"num_chunks": 4}, search=SEARCH))
        cluster.wait_for(host, lambda: host.experiment("set-back")["state"] == "active")
        first, second = (run["id"] for run in host.experiment_runs("set-back"))
        cluster.wait_for(host, lambda: trained(host) > 0)
        taken = cluster.cli_json("host", "backup", str(backup))
        assert taken["missing_blobs"] == 0
        assert backup.stat().st_mode & 0o777 == 0o600
        behind = trained(host)
        cluster.wait_for(host, lambda: trained(host) > behind)
        assert host.status()["open_leases"] > 0, "the client was to be at work when the host goes"
        before = generations(host, "set-back")
    cluster.kill_host()
    assert "is not empty: it has" in cluster.cli("host", "restore", str(backup), code=1).stderr
    data_dir.rename(cluster.root / "host-before")
    restored = cluster.cli_json("host", "restore", str(backup))
    assert restored["runs"] == 2
    cluster.start_host()
    with cluster.api() as host:
        assert sum(end - start for run in (first, second) for start, end in ledger(host, "set-back", run)) == trained(host)
        cluster.wait_for(host, lambda: host.experiment("set-back")["state"] == "idle")
        for run in (first, second):
            check_ledger(host, "set-back", run)
            assert cluster.cli_json("run", "verify", run)["identical"] is True
        after = generations(host, "set-back")
        assert all(after[run] > before[run] for run in before)
        assert {epoch_of(generation) for generation in after.values()} == {restored["epoch"]}
        said = cluster.cli("host", "status").stdout
        assert "disk left" in said
        assert "events since the last snapshot" in said
        refused = host.ready()["refused_reports"]
    log = cluster.log("client-only.log", 1_000_000)
    assert refused == log.count("the host refused report") > 0
