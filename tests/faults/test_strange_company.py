"""Two hosts on one data directory, by whatever path, and clients of other versions: each side says what is wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faults_rig import bound
from real_cluster import RealCluster

pytestmark = pytest.mark.e2e

OLDER, UNKNOWN = "0.0.9", "99.1.0"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster(tmp_path_factory.mktemp("company"))
    try:
        made.start_host()
        yield made
    finally:
        made.close()


def test_a_second_host_is_refused_under_every_path_of_the_data_directory(cluster: RealCluster, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(cluster.data_dir)

    def refusal(path: Path) -> str:
        ports = ("--port", "0", "--http-port", "0", "--pool-port", "0")
        return cluster.cli("host", "start", "--data-dir", str(path), *ports, code=1).stderr.splitlines()[-1]

    assert cluster.host_process is not None
    with bound(cluster.data_dir, tmp_path / "bound") as mounted, ThreadPoolExecutor(3) as pool:
        lines = list(pool.map(refusal, (cluster.data_dir, link, mounted)))
    for line in lines:
        assert f"is in use by pid {cluster.host_process.pid}" in line, line
        assert "stop that host first" in line
    with cluster.api() as host:
        assert host.ready()["ready"]


def of_version(cluster: RealCluster, version: str, *args: str) -> subprocess.CompletedProcess[str]:
    """``gswarm ARGS`` as another version would run it."""
    program = f"import gswarm; gswarm.__version__ = {version!r}\nfrom gswarm.cli.main import main; main()"
    command = [sys.executable, "-c", program, *args]
    return subprocess.run(command, env=cluster.environment(), capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("version", [OLDER, UNKNOWN])
def test_a_client_of_another_version_is_told_so_and_the_host_too(cluster: RealCluster, tmp_path: Path, version: str) -> None:
    name = f"v{version.replace('.', '-')}"
    with cluster.api() as host:
        token = host.create_token("client", ttl_s=600, uses=2)["token"]
    join = ("client", "connect", f"127.0.0.1:{cluster.port}", "--name", name, "--slots", "cpu:1", "--data-dir", str(tmp_path))
    at_the_door = of_version(cluster, version, *join, "--token", token)
    cluster.spawn("same.log", *join, "--token", token)
    with cluster.api() as host:
        cluster.wait_for(host, lambda: any(one["name"] == name for one in host.clients()))
        host.disconnect_client(name)
        cluster.wait_for(host, lambda: host.client(name)["state"] == "lost")
    shutil.rmtree(tmp_path / "clients" / name / "pool", ignore_errors=True)
    # It joined when both were of one version; then one side was upgraded.
    in_the_session = of_version(cluster, version, *join)
    for done in (at_the_door, in_the_session):
        assert done.returncode == 1, done.stderr
        line = done.stderr.splitlines()[-1]
        assert f"the client has gswarm '{version}' but the host has" in line, line
        assert "install gswarm" in line
        assert "Traceback" not in done.stderr
    log = cluster.log("host.log", 100_000)
    assert f"client {name} was refused: the client has gswarm '{version}'" in log
