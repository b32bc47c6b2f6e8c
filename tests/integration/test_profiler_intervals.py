"""What a session is sampled at is what everybody is told: API, SDK, command line and report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_host import CLIENT, ApiHost, api_host
from typer.testing import CliRunner

from gswarm.cli.main import app
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import DeviceInfo, DeviceProcess, SampleBatch
from gswarm.sdk import Host


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as made:
        yield made


def sdk(api: ApiHost) -> Host:
    return Host(api.url, api.bearer["operator"])


def test_single_metrics_have_intervals_of_their_own(api: ApiHost) -> None:
    with sdk(api) as host:
        session = host.start_profiler(
            "mine", 0.5, ["gpu_power", "gpu_fan", "gpu_pcie_rx"], metric_intervals_s={"gpu_power": 0.1, "gpu_pcie_rx": 0.2}
        )
        assert (session["interval_s"], session["other_intervals_s"]) == (0.5, {"gpu_power": 0.1, "gpu_pcie_rx": 1.0})
        assert host.profiler_sessions() == [session]
        assert api.profiler.sessions.intervals() == (("*", 1.0), ("gpu_fan", 0.5), ("gpu_pcie_rx", 0.2), ("gpu_power", 0.1))
        page = b"".join(host.export_profiler_session("mine", "html")).decode()
        assert "0.5 s; 0.1 s: gpu_power; 1 s: gpu_pcie_rx" in page


def test_an_interval_that_would_be_a_lie_is_refused(api: ApiHost) -> None:
    with sdk(api) as host:
        for interval_s, own in ((10.0, {}), (1.0, {"gpu_power": 3600.0})):
            with pytest.raises(InvalidInputError, match="longer than the second at which everything is sampled and kept anyway"):
                host.start_profiler("mine", interval_s, metric_intervals_s=own)
        for interval_s, own in ((0.01, {}), (1.0, {"gpu_power": 0.01})):
            with pytest.raises(InvalidInputError, match=r"choose 0\.1 to 1 s"):
                host.start_profiler("mine", interval_s, metric_intervals_s=own)
        assert host.profiler_sessions() == []


def test_the_command_line_says_what_is_sampled_otherwise(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSWARM_HOST", api.url)
    monkeypatch.setenv("GSWARM_TOKEN", api.bearer["operator"])
    monkeypatch.setenv("COLUMNS", "200")

    def cli(*args: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["profiler", *args])
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout if code == 0 else result.stderr

    metrics = ("--metric", "gpu_power=100ms", "--metric", "gpu_pcie_rx", "--metric", "gpu_xid")
    told = "0.5 s, 0.1 s for gpu_power, 1 s for gpu_pcie_rx, gpu_xid"
    assert f"sampled every {told};" in cli("start", "--name", "night", "--interval", "500ms", *metrics)
    assert told in cli("show", "night")
    assert "0.5 s, 0.1 s for gpu_power, 1 s for 2 metrics" in cli("list")
    assert json.loads(cli("list", "-o", "json"))[0]["other_intervals_s"]["gpu_power"] == 0.1
    assert "longer than the second" in cli("start", "--name", "x", "--interval", "10s", code=1)
    assert "longer than the second" in cli("start", "--name", "x", "--metric", "gpu_power=1h", code=1)


def test_two_processes_of_one_outsider_are_told_apart(api: ApiHost) -> None:
    processes = (
        DeviceProcess(7, "ann", "python", "outsider:ann", 10**9, 0.75),
        DeviceProcess(8, "ann", "python", "outsider:ann", 10**9, 0.25),
        DeviceProcess(9, "ann", "python", "outsider:ann", None),
    )
    api.profiler.samples.append(
        ClientName(CLIENT), SampleBatch("0123456789abcdef", 1, (), (DeviceInfo("gpu:0", "gpu", "", "", None, "", processes),))
    )
    with sdk(api) as host:
        found = next(one for one in host.profiler_devices() if one["device"] == "gpu:0")["processes"]
    assert [(one["pid"], one["sm_utilization"]) for one in found] == [(7, 0.75), (8, 0.25), (9, None)]
