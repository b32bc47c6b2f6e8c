"""``gswarm profiler`` speaks to people: what it asks for, what it refuses and why, what it counts, and where exports go."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from api_host import CLIENT, ApiHost, api_host, with_runs
from click.testing import Result
from typer.testing import CliRunner

from gswarm.cli.main import app
from gswarm.cli.profiler import ExportFormat, export
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import DeviceInfo, SampleBatch, SampleColumns
from gswarm.profiler.catalog import METRICS

Cli = Callable[..., Result]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path / "host") as made:
        yield made


@pytest.fixture
def cli(api: ApiHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("GSWARM_HOST", api.url)
    monkeypatch.setenv("GSWARM_TOKEN", api.bearer["operator"])
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(app, ["profiler", *args])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--name", "my session"), ("no session can be called 'my session'", "letters, digits, '.', '_' and '-'")),
        (("--name", ""), ("no session can be called ''",)),
        (("--name", "n" * 65), ("up to 64",)),
        (("--name", "n", "--interval", "2h"), ("an interval of 7200 s", "choose 0.1 to 1 s")),
        (("--name", "n", "--interval", "5ms"), ("an interval of 0.005 s", "choose 0.1 to 1 s")),
        (("--name", "n", "--interval", "often"), ("'often' is not a duration", "write 100ms, 500ms or 1s")),
        (("--name", "n", "--metric", "gpu_power,gpu_pwer"), ("no metric 'gpu_pwer'", "did you mean gpu_power?", "gswarm profiler metrics")),
        (("--name", "n", "--metric", "gpu_power=fast"), ("'fast' is not a duration",)),
    ],
)
def test_what_cannot_be_is_refused_in_words(cli: Cli, api: ApiHost, arguments: tuple[str, ...], says: tuple[str, ...]) -> None:
    result = cli("start", *arguments)
    assert result.exit_code != 0
    assert result.stderr.startswith("error: ")
    for part in says:
        assert part in result.stderr
    assert not any(word in result.stderr for word in ("body.", "pattern", "profiler/metrics", "/docs"))
    assert api.profiler.sessions.items() == []


def test_names_may_have_commas_between_them(cli: Cli, api: ApiHost) -> None:
    with_runs(api)
    result = cli("start", "--name", "n", "--metric", "gpu_power, gpu_fan", "--metric", "gpu_fan,mfu", "--client", f"ghost,{CLIENT}")
    assert result.exit_code == 0, result.output
    (session,) = api.profiler.sessions.items()
    assert (session.metrics, session.clients) == (("gpu_power", "gpu_fan", "mfu"), ("ghost", CLIENT))
    assert "no client is called ghost" in result.stderr
    assert CLIENT not in result.stderr


def test_metrics_are_listed(cli: Cli) -> None:
    shown = cli("metrics").stdout
    assert all(metric.name in shown and metric.help in shown for metric in METRICS)
    assert cli("metrics", "-o", "quiet").stdout.split() == [metric.name for metric in METRICS]
    power = next(one for one in json.loads(cli("metrics", "-o", "json").stdout) if one["name"] == "gpu_power")
    assert (power["unit"], power["help"]) == ("watts", "Power draw")
    assert "'gswarm profiler metrics'" in str(cli("start", "--name", "n", "--metric", "zzz").stderr)


def measure(api: ApiHost, client: str, device: str, value: float, age_s: float = 0.0) -> None:
    times = np.array([round((time.time() - age_s) * 1e6)], "<i8").tobytes()
    columns = SampleColumns(device, "", ("gpu_power" if device.startswith("gpu") else "memory_used",), times, np.array([value]).tobytes())
    info = DeviceInfo(device, device.partition(":")[0], "")
    seq = len(api.profiler.samples.latest()) + 1
    api.profiler.samples.append(ClientName(client), SampleBatch("0123456789abcdef", seq, (columns,), (info,)))


def test_status_counts_what_is_measured_now(cli: Cli, api: ApiHost) -> None:
    for client in ("a", "b"):
        measure(api, client, "machine", 1.0)
        measure(api, client, "gpu:0", 350.0)
    measure(api, "b", "gpu:1", 350.0, age_s=20)
    measure(api, "b", "gpu:2", float("nan"))
    measure(api, "dead", "machine", 1.0, age_s=20)
    measure(api, "dead", "gpu:0", 350.0, age_s=20)
    assert cli("status").stdout.splitlines()[0] == "2 clients are measured, with 2 GPUs"
    assert json.loads(cli("status", "-o", "json").stdout) == {"sessions": [], "devices": 4, "clients": 2, "gpus": 2}


def test_exports_go_to_standard_output(cli: Cli, api: ApiHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("start", "--name", "n").exit_code == 0
    measure(api, "a", "gpu:0", 350.0, age_s=-0.05)
    time.sleep(0.1)  # the sample's time is the wall clock's, as the session's is
    assert cli("stop", "n").exit_code == 0
    before = sorted(path.name for path in tmp_path.iterdir())
    assert cli("export", "n", "--to", "-").stdout.splitlines()[1].endswith('"gpu_power","watts",350')
    assert pq.read_table(io.BytesIO(cli("export", "n", "--to", "-", "--format", "parquet").stdout_bytes)).num_rows == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before

    screen = Terminal(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(InvalidInputError, match="terminal"):
        export("n", ExportFormat.PARQUET, Path("-"))
    export("n", ExportFormat.CSV, Path("-"))
    assert screen.buffer.getvalue().startswith(b'"at"')  # type: ignore[attr-defined]


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True
