"""Disks that are full, read-only or broken under a running host: it stops acknowledging, says why, and keeps what it acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faults_rig import FrailCluster, breaking_disk, document, ended, submit_until_refused, tiny_disk
from real_cluster import RealCluster

pytestmark = pytest.mark.e2e


def check_that_it_says_why_and_keeps_its_word(
    cluster: RealCluster, break_disk: Callable[[], None], repair: Callable[[], None], why: str, status: str = "no host runs"
) -> None:
    """Breaks the disk of a host that works, and starts it again once the disk is repaired."""
    with cluster.api() as host:
        acknowledged = {host.submit(document(name))["id"]: name for name in ("first", "second")}
        break_disk()
        refused, refusal = submit_until_refused(host, acknowledged)
    code, line = ended(cluster)
    assert code == 1
    assert line.startswith("error: the journal "), line
    assert why in line
    assert "had to end" in refusal or "cannot be reached" in refusal or why in refusal, refusal
    away = cluster.cli("host", "status", "--data-dir", str(cluster.data_dir), code=3)
    assert status in away.stderr
    repair()
    cluster.start_host()
    with cluster.api() as host:
        kept = [(one["id"], one["name"]) for one in host.experiments() if one["name"] != refused]
        assert sorted(kept) == sorted(acknowledged.items()), "each that was acknowledged is there once, under its id"
        assert [one["name"] for one in host.experiments()].count(refused) <= 1, "the last one may have come to the disk unacknowledged"
        host.submit(document("after"))


@pytest.mark.parametrize(("kind", "why"), [("eio", "disk I/O error"), ("erofs", "has become read-only")])
def test_a_broken_or_read_only_disk_ends_the_host_and_nothing_acknowledged_is_lost(kind: str, why: str, tmp_path: Path) -> None:
    cluster = FrailCluster(tmp_path, breaks=kind)
    try:
        cluster.start_host()
        check_that_it_says_why_and_keeps_its_word(cluster, cluster.break_disk, lambda: None, why)
    finally:
        cluster.close()


def test_a_disk_that_the_kernel_makes_read_only_ends_the_host_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path)
    with breaking_disk(cluster.data_dir, tmp_path / "image") as disk:
        try:
            cluster.start_host()
            # Where it could be reached cannot be taken back on such a disk.
            check_that_it_says_why_and_keeps_its_word(cluster, disk.fail, disk.repair, "has become read-only", "cannot be reached")
        finally:
            cluster.close()


def test_a_full_disk_ends_the_host_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path)
    with tiny_disk(cluster.data_dir / "host") as disk:
        try:
            cluster.start_host()
            check_that_it_says_why_and_keeps_its_word(cluster, disk.fill, disk.empty, "full")
        finally:
            cluster.close()


def test_a_disk_that_is_read_only_or_full_at_the_start_is_named(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path)

    def refused() -> str:
        ports = ("--port", "0", "--http-port", "0", "--pool-port", "0")
        return cluster.cli("host", "start", "--data-dir", str(cluster.data_dir), *ports, code=1).stderr.splitlines()[-1]

    with tiny_disk(cluster.data_dir) as disk:
        cluster.start_host()
        cluster.close()
        disk.remount("ro")
        assert "its file system is read-only" in refused()
        disk.remount("rw")
        disk.fill()
        assert "free space on its disk" in refused()
