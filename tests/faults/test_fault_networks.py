"""Lines that lose, delay and break, machines that vanish or move: the work goes on by itself and the weights do not tell."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from armed_cluster import check_identical, check_stopped, wait_until
from experiments import experiment
from net_rig import HOST_NAME, NetCluster, Network, network, standing_in

from gswarm.sdk import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train]

SEARCH = {"method": "grid", "parameters": {"learning_rate": {"values": [5e-4, 1e-3, 2e-3]}}}
CLIENTS = ("left", "right", "far")
LOST_SHARE = 0.03
DELAY_S = 0.1


def make_machines(net: Network) -> NetCluster:
    host = net.add("host")
    for name in (*CLIENTS, "relay"):
        net.add(name).call(HOST_NAME, host.address)
    far = net.machines["far"]
    for direction in ("ingress", "egress"):
        far.lose(LOST_SHARE, direction)
    far.thin_out("4mbit")
    return NetCluster(Path(), net=net, reached_at={"far": net.machines["relay"].address})


@contextmanager
def relayed(cluster: NetCluster) -> Iterator[None]:
    """The client ``far`` reaches the host through a relay that delays what passes."""
    ports = json.loads((cluster.data_dir / "host" / "endpoint.json").read_text())
    command = [
        sys.executable,
        str(Path(__file__).with_name("slow_proxy.py")),
        str(DELAY_S),
        HOST_NAME,
        str(cluster.port),
        str(ports["pool_port"]),
    ]
    relay = subprocess.Popen(cluster.net.machines["relay"].command(*command), stdout=subprocess.PIPE)
    assert relay.stdout is not None
    try:
        relay.stdout.readline()
        yield
    finally:
        relay.kill()
        relay.communicate()


def state_of(host: Host, name: str) -> tuple[str, bool]:
    """In the plan, and whether its session stands."""
    client = host.client(name)
    return client["state"], client["connected"]


def wait_until_back(host: Host) -> None:
    wait_until(lambda: all(state_of(host, name) == ("ready", True) for name in CLIENTS), "all clients are back")


def grows(cluster: NetCluster, host: Host, runs: list[str]) -> None:
    """Every run counts a chunk more from here on."""
    before = {run: host.run(run)["position"] for run in runs}
    wait_until(lambda: all(host.run(run)["position"] > before[run] for run in runs), "every run goes on")


def connected_ports(address: str) -> set[int]:
    """The ports of this thread's namespace that have an established connection with that address."""
    theirs = socket.inet_aton(address)[::-1].hex().upper()
    rows = [row.split() for family in ("tcp", "tcp6") for row in Path(f"/proc/thread-self/net/{family}").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[2].partition(":")[0].endswith(theirs) and row[3] == "01"}


def half_cut_and_moved(cluster: NetCluster, host: Host) -> None:
    """``left`` hears nothing, ``right`` is not heard, ``far`` has another address: all at once, for longer than a lease."""
    left, right, far = (cluster.net.machines[name] for name in CLIENTS)
    left.lose(1, "ingress")
    right.lose(1, "egress")
    far.move(cluster.net.address(100))
    wait_until(lambda: all(state_of(host, name) == ("lost", False) for name in ("left", "right")), "two clients are lost")
    shown = {client["name"]: client for client in cluster.cli_json("client", "list")}
    assert [shown[name]["state"] for name in ("left", "right")] == ["lost", "lost"]
    assert "silent for" in cluster.cli("client", "show", "right").stdout
    left.lose_nothing("ingress")
    right.lose_nothing("egress")
    wait_until_back(host)
    wait_until(lambda: host.ready()["refused_reports"] > 0, "what they trained too late is refused")
    registered: list[dict[str, Any]] = [event for event in cluster.events("ClientRegistered") if event["client"] == "far"]
    assert far.address in registered[-1]["data_url"], "others look for its blobs where it was"


def host_vanishes_and_comes_back_elsewhere(cluster: NetCluster) -> None:
    """Nobody is told: neither an end of the connections nor the new address, but for the name service."""
    machine = cluster.net.machines["host"]
    machine.unplug()
    cluster.kill_host()
    machine.move(cluster.net.address(101))
    cluster.start_host()
    machine.plug_in()
    for name in (*CLIENTS, "relay"):
        cluster.net.machines[name].call(HOST_NAME, machine.address)


def client_vanishes_and_comes_back(cluster: NetCluster, host: Host, name: str) -> None:
    """It comes back elsewhere."""
    machine = cluster.net.machines[name]
    before = machine.address
    machine.unplug()
    cluster.kill_client(name, signal.SIGKILL)
    assert cluster.port in connected_ports(before), "the host was told, this is no half-open connection"
    wait_until(lambda: state_of(host, name) == ("lost", False), f"{name} is lost")
    wait_until(lambda: cluster.port not in connected_ports(before), "the host has let go of the session's connection")
    machine.move(cluster.net.address(102))
    machine.plug_in()
    cluster.start_client(name)


@pytest.mark.timeout(900)
def test_the_work_goes_on_whatever_the_lines_do(tmp_path: Path, assets: Path) -> None:
    with network() as net:
        cluster = make_machines(net)
        cluster.root = tmp_path
        cluster.slow_down(0.15)
        with standing_in(net.machines["host"]):
            try:
                cluster.start_host()
                with relayed(cluster):
                    break_everything(cluster, assets)
            finally:
                cluster.close()


def break_everything(cluster: NetCluster, assets: Path) -> None:
    for name in CLIENTS:
        cluster.start_client(name)
    cluster.wait_for_clients(3)
    with cluster.api() as host:
        host.submit(experiment(assets, "lines", num_train_epochs=400, chunks={"num_chunks": 4}, search=SEARCH))
        cluster.wait_for(host, lambda: host.experiment("lines")["state"] == "active")
        runs = [run["id"] for run in host.experiment_runs("lines")]
        grows(cluster, host, runs)
        half_cut_and_moved(cluster, host)
        grows(cluster, host, runs)
    host_vanishes_and_comes_back_elsewhere(cluster)
    with cluster.api() as host:
        wait_until_back(host)
        grows(cluster, host, runs)
        client_vanishes_and_comes_back(cluster, host, "right")
        wait_until_back(host)
        grows(cluster, host, runs)
        check_stopped(cluster, host, "lines")
        check_identical(host, runs)
