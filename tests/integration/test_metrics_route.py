"""``GET /metrics`` of a real API, the dashboards and rules made for it, and what promtool says to all of them."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from api_host import CLIENT, ApiHost, api_host, with_runs

from gswarm.domain.ids import RunId
from gswarm.domain.messages import StepMetrics
from gswarm.domain.samples import MACHINE, DeviceInfo, SampleBatch, SampleColumns
from gswarm.host.profiling import host_families as exposed
from gswarm.profiler.catalog import METRICS, Group
from gswarm.profiler.exposition import exposed_name, sample_names

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
RULES = ROOT / "deploy" / "prometheus" / "rules" / "gswarm.yml"


def promtool(*arguments: str, text: str | None = None) -> str:
    """What it prints. It comes with Prometheus."""
    program = shutil.which("promtool")
    assert program is not None, "promtool is missing; install it with: apt-get install -y prometheus"
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHost]:
    """A host whose client measures everything there is."""
    with api_host(tmp_path_factory.mktemp("metrics")) as running:
        first, *_ = with_runs(running, slots=2)
        now_s = running.plan._clock()
        devices = {
            Group.GPU: ("gpu:0", ""),
            Group.MACHINE: (MACHINE, ""),
            Group.TRAINING: ("slot:0", "run:r1"),
            Group.PROCESS: ("gpu:0", "run:r1"),
        }
        columns = []
        for group, (device, owner) in devices.items():
            names = tuple(metric.name for metric in METRICS if metric.group is group)
            values = np.array([0.0 if name == "clock_offset" else 0.5 for name in names], "<f8")
            columns.append(
                SampleColumns(device, owner, names, np.array([round(now_s * 1e6) + 60_000_000], "<i8").tobytes(), values.tobytes())
            )
        infos = (DeviceInfo("gpu:0", "gpu", "NVIDIA H200", "GPU-1"),)
        running.profiler.samples.append(CLIENT, SampleBatch("s", 1, tuple(columns), infos, 0.0, 0.001))
        running.series.append([StepMetrics(RunId(first), 1, 5, now_s, (("loss", 2.5), ("eval_loss", 3.5)))])
        yield running


def scrape(api: ApiHost, **headers: str) -> httpx.Response:
    return httpx.get(f"{api.url}/metrics", headers={"Authorization": f"Bearer {api.bearer['viewer']}", **headers})


def names_of(text: str) -> set[str]:
    return set(re.findall(r"^([a-z_0-9]+)[{ ]", text, re.MULTILINE))


def test_everything_is_there(api: ApiHost) -> None:
    answer = scrape(api)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = names_of(answer.text)
    assert sample_names() <= names
    for line in (
        'gswarm_gpu_power_watts{client="left",device="gpu:0",model="NVIDIA H200",owner="",uuid="GPU-1"} 0.5',
        'gswarm_runs{state="running"} 3.0',
        'gswarm_slots{state="busy"} 2.0',
        'gswarm_slots{state="free"} 0.0',
        'gswarm_clients{state="ready"} 1.0',
        'gswarm_run_loss{experiment="e1",name="tiny-1",run="r1"} 2.5',
        'gswarm_run_steps_planned{experiment="e1",name="tiny-1",run="r1"} 16.0',
        "gswarm_refused_reports_total 3.0",
        "gswarm_refused_samples_total 0.0",
    ):
        assert line in answer.text.splitlines()
    assert {"gswarm_events_total", "gswarm_journal_lag_events", "gswarm_queue_runs", "gswarm_host_disk_free_bytes"} <= names
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "gswarm_build_info"} <= names


def test_promtool_finds_nothing_wrong_with_it(api: ApiHost) -> None:
    promtool("check", "metrics", text=scrape(api).text)


def test_openmetrics_when_asked_for(api: ApiHost) -> None:
    answer = scrape(api, Accept='application/openmetrics-text;version="1.0.0";q=0.75,text/plain;version=0.0.4;q=0.5')
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert sample_names() <= names_of(answer.text)


def test_it_is_closed_to_strangers(api: ApiHost) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": f"Bearer {api.tokens.create('client').text}"}):
        assert httpx.get(f"{api.url}/metrics", headers=headers).status_code == 401
    assert httpx.post(f"{api.url}/metrics", headers={"Authorization": f"Bearer {api.bearer['admin']}"}).status_code == 405


def test_it_is_small_on_the_wire(api: ApiHost) -> None:
    with httpx.stream(
        "GET", f"{api.url}/metrics", headers={"Authorization": f"Bearer {api.bearer['viewer']}", "Accept-Encoding": "gzip"}
    ) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        raw = b"".join(answer.iter_raw())
    assert b"gswarm_build_info" in gzip.decompress(raw)
    assert scrape(api, **{"Accept-Encoding": "identity"}).headers.get("content-encoding") is None


def test_many_scrapers_cost_no_more_than_one(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = exposed.active_runs

    def counted(services: Any) -> Any:
        made.append(1)
        return real(services)

    monkeypatch.setattr("gswarm.host.api.prometheus.active_runs", counted)

    async def all_at_once() -> list[int]:
        headers = {"Authorization": f"Bearer {api.bearer['viewer']}"}
        async with httpx.AsyncClient(base_url=api.url, headers=headers) as http:
            return [answer.status_code for answer in await asyncio.gather(*(http.get("/metrics") for _ in range(20)))]

    assert asyncio.run(all_at_once()) == [200] * 20
    assert len(made) < 10


def test_only_so_many_runs_have_series_of_their_own(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposed, "RUNS_MAX", 1)
    services = api._server._server.config.app.state.services
    assert [run.id for run in exposed.active_runs(services)] == ["r1"]


# ---- what is made for it ------------------------------------------------------------------------------------------------


def test_the_dashboards_are_fresh() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "grafana.py"))["render"]()
    assert {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")} == made, "run make docs"


def panels() -> Iterator[dict[str, Any]]:
    for path in sorted(DASHBOARDS.glob("*.json")):
        yield from (panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row")


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_every_expression_is_one_and_every_name_is_exposed(api: ApiHost, tmp_path: Path) -> None:
    names = names_of(scrape(api).text) | {"gswarm_alerts_firing", "up"}
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    found = expressions()
    assert len(found) > 50
    for expression in [*found, *rules]:
        used = set(re.findall(r"\b(?:gswarm|process)_[a-z0-9_]+", expression))
        assert used <= names, expression
        assert used or expression.startswith("up"), expression
    written = {"groups": [{"name": "dashboards", "rules": [{"record": f"x:{n}", "expr": one} for n, one in enumerate(found)]}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(written))
    assert f"{len(found)} rules found" in promtool("check", "rules", str(tmp_path / "rules.yml"))


def test_totals_count_each_slot_and_each_gpu_once(tmp_path: Path) -> None:
    """As Prometheus computes them: six runs took turns on one slot, another trains half of the time; one GPU of three is cut in two."""
    by_title = {(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]}
    (tokens,) = [one for title, one in by_title if title == "Tokens" and "owner=~" not in one]
    (gpus,) = [one for title, one in by_title if title == "GPUs"]
    (memory,) = [one for title, one in by_title if title == "Memory used by client"]
    series = [
        *((f'gswarm_training_tokens_per_second{{client="a", device="slot:0", owner="run:r{run}"}}', 10_000) for run in range(6)),
        ('gswarm_training_tokens_per_second{client="b", device="slot:0", owner="run:r9"}', 4_000),
        ('gswarm_training_train_ratio{client="a", device="slot:0", owner=""}', 1),
        ('gswarm_training_train_ratio{client="b", device="slot:0", owner=""}', 0.5),
        *((f'gswarm_gpu_memory_total_bytes{{client="a", device="gpu:{gpu}", owner=""}}', 100) for gpu in (0, 1, 2)),
        *((f'gswarm_gpu_memory_used_bytes{{client="a", device="gpu:{gpu}", owner=""}}', 30) for gpu in (0, 1, 2)),
        *((f'gswarm_gpu_memory_total_bytes{{client="a", device="gpu:2/mig:{part}", owner=""}}', 50) for part in (0, 1)),
        *((f'gswarm_gpu_memory_used_bytes{{client="a", device="gpu:2/mig:{part}", owner=""}}', 25) for part in (0, 1)),
    ]
    wanted = ((tokens, "{}", 12_000), (gpus, "{}", 3), (memory, '{client="a"}', 0.3))
    test = {
        "input_series": [{"series": name, "values": f"{value}x5"} for name, value in series],
        "promql_expr_test": [
            {"expr": expr, "eval_time": "1m", "exp_samples": [{"labels": labels, "value": value}]} for expr, labels, value in wanted
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [{"interval": "1m", **test}]}))
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "test.yml"))


def test_every_gpu_metric_has_a_panel() -> None:
    shown = " ".join(expressions())
    missing = [metric.name for metric in METRICS if exposed_name(metric) not in shown]
    assert missing == []


def test_panels_stand_beside_each_other_and_their_variables_exist() -> None:
    for path in sorted(DASHBOARDS.glob("*.json")):
        document = json.loads(path.read_text())
        ids = [panel["id"] for panel in document["panels"]]
        assert len(set(ids)) == len(ids)
        taken: set[tuple[int, int]] = set()
        for panel in document["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            assert place["x"] + place["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells
            assert panel["type"] == "row" or panel["options"] is not None, panel["title"]
        known = {variable["name"] for variable in document["templating"]["list"]}
        used = set(re.findall(r"\$\{?([a-z]+)", json.dumps([panel.get("targets") for panel in document["panels"]])))
        assert used <= known, path.name


def test_the_rules_and_the_configuration_are_right(tmp_path: Path) -> None:
    promtool("check", "rules", str(RULES))
    folder = tmp_path / "prometheus"
    shutil.copytree(ROOT / "deploy" / "prometheus", folder)
    (folder / "gswarm.token").write_text("gswt-none")
    (folder / "gswarm-ca.pem").write_text("")
    promtool("check", "config", str(folder / "prometheus.yml"))


def test_provisioning_is_yaml_that_fits_together() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "gswarm.yaml").read_text())["datasources"][0]
    provider = yaml.safe_load((folder / "dashboards" / "gswarm.yaml").read_text())["providers"][0]
    assert (source["type"], provider["type"]) == ("prometheus", "file")
    assert provider["options"]["path"] in (ROOT / "docs" / "prometheus.md").read_text()
