"""A real Prometheus with the configuration of ``deploy/prometheus`` scrapes a real host over TLS with a viewer's token."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from gswarm.domain.alert_config import AlertConfig
from gswarm.domain.config import HostConfig
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import DeviceInfo, SampleBatch, SampleColumns
from gswarm.host.daemon import Host

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
GPU = "gswarm_gpu_power_watts{client='a'}"
FIRING = "ALERTS{alertname='GswarmAlert', rule='xid', severity='critical', alertstate='firing'}"
"""A client's sensor, the host's rule, /metrics and Prometheus' rule stand behind it."""

pytestmark = pytest.mark.e2e


def configure(folder: Path, host: Host) -> None:
    """The deployed files with this host's address, a shorter interval, and two more jobs that must not get in."""
    shutil.copytree(DEPLOY, folder)
    (folder / "gswarm.token").write_text(host.services.tokens.create("viewer").text)
    (folder / "wrong.token").write_text(host.services.tokens.create("client").text)
    shutil.copy(host.endpoint.ca_path, folder / "gswarm-ca.pem")
    document = yaml.safe_load((folder / "prometheus.yml").read_text())
    document["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = document["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{host.endpoint.http_url.rpartition(':')[2]}"]}]
    stranger = job | {"job_name": "stranger", "authorization": {"credentials_file": "wrong.token"}}
    trusting_others = job | {"job_name": "trusts-others", "tls_config": {"server_name": "gswarm-host"}}
    document["scrape_configs"] = [job, stranger, trusting_others]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(document))


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """Runs it; its address."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is missing; install it with: apt-get install -y prometheus"
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *arguments, "--log.level=warn"], stdout=log, stderr=log)
    try:
        yield f"http://{address}/api/v1"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def broken_gpu(at_s: float, watts: float) -> SampleBatch:
    """It has fallen off the bus (XID 79)."""
    times = np.array([round(at_s * 1e6)], "<i8").tobytes()
    columns = SampleColumns("gpu:0", "", ("gpu_power", "gpu_xid"), times, np.array([watts, 79.0], "<f8").tobytes())
    return SampleBatch("spool", 1, (columns,), (DeviceInfo("gpu:0", "gpu", "NVIDIA H200", "GPU-1"),))


async def ask(http: httpx.AsyncClient, path: str, **query: str) -> Any:
    try:
        answer = await http.get(path, params=query)
    except httpx.TransportError:
        return None
    return answer.json()["data"] if answer.status_code == 200 else None


async def values(http: httpx.AsyncClient, expression: str) -> dict[str, float]:
    """By job."""
    data = await ask(http, "/query", query=expression)
    return {one["metric"].get("job", ""): float(one["value"][1]) for one in data["result"]} if data else {}


async def test_a_real_prometheus_reads_a_real_host(tmp_path: Path) -> None:
    alerts = AlertConfig(interval_s=0.2)
    host = await Host.start(HostConfig(data_dir=str(tmp_path / "host"), bind="0.0.0.0", port=0, http_port=0, pool_port=0, alerts=alerts))
    try:
        samples = host.services.profiler.samples
        samples.append(ClientName("a"), broken_gpu(host.services.clock() + 60, 512.5))
        configure(tmp_path / "prometheus", host)
        with prometheus(tmp_path / "prometheus") as url:
            async with httpx.AsyncClient(base_url=url, timeout=5) as http, asyncio.timeout(60):
                while not (await values(http, GPU) and await values(http, FIRING) and len(await values(http, "up")) == 3):
                    await asyncio.sleep(0.1)  # another program, which tells nobody when it is ready
                assert await values(http, GPU) == {"gswarm": 512.5}
                assert await values(http, "up") == {"gswarm": 1.0, "stranger": 0.0, "trusts-others": 0.0}
                assert (await values(http, "gswarm_build_info"))["gswarm"] == 1.0
                targets = (await ask(http, "/targets"))["activeTargets"]
                errors = {one["labels"]["job"]: one["lastError"] for one in targets}
                assert errors["gswarm"] == ""
                assert "401" in errors["stranger"]
                assert "unknown authority" in errors["trusts-others"]
                groups = (await ask(http, "/rules"))["groups"]
                assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
                assert [rule["name"] for group in groups for rule in group["rules"]][:2] == ["GswarmHostDown", "GswarmAlert"]
    finally:
        await host.stop()
