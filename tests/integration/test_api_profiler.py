"""The profiler's routes over a real host's plan: charts, marks, sessions, exports, and what a run had."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from api_host import CLIENT, ApiHost, api_host, with_runs
from typer.testing import CliRunner

from gswarm.cli.main import app
from gswarm.domain.errors import ConflictError, InvalidInputError, NotFoundError
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import DeviceInfo, DeviceProcess, SampleBatch, SampleColumns
from gswarm.host.timeline.chronicle import Chronicle, Note
from gswarm.host.timeline.slot_book import SlotSpan
from gswarm.sdk import Host

METRICS = ("gpu_power", "gpu_memory_used", "gpu_utilization")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as made:
        yield made


def measure(api: ApiHost, seq: int, begin_s: float, rows: int = 5) -> None:
    """A GPU at 360 W, half of the time, and a share of a run."""
    times = (round(begin_s * 1e6) + np.arange(rows) * 100_000).astype("<i8").tobytes()
    values = np.array([[360.0] * rows, [8e9] * (rows - 1) + [9e9], [0.5] * rows], "<f8").tobytes()
    share = np.full(rows, 5e9, "<f8").tobytes()
    columns = (
        SampleColumns("gpu:0", "", METRICS, times, values),
        SampleColumns("gpu:0", "run:r1", ("process_memory_used",), times, share),
        SampleColumns("machine", "", ("cpu_utilization",), times, np.full(rows, np.nan, "<f8").tobytes()),
    )
    process = DeviceProcess(7, "ann", "python", "run:r1", 5_000_000_000)
    devices = (
        DeviceInfo("gpu:0", "gpu", "NVIDIA H200", "GPU-1", 150 * 10**9, "", (process,)),
        DeviceInfo("slot:0", "slot", "", parent="gpu:0"),
    )
    api.profiler.samples.append(ClientName(CLIENT), SampleBatch("0123456789abcdef", seq, columns, devices))


def sdk(api: ApiHost, role: str = "operator") -> Host:
    return Host(api.url, api.bearer[role])


def raw(api: ApiHost, path: str, **params: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {api.bearer['viewer']}"}
    return httpx.get(f"{api.url}/api/v1{path}", params=params, headers=headers, timeout=20)


def test_charts_devices_and_newest_values(api: ApiHost) -> None:
    begin_s = time.time() - 2
    measure(api, 1, begin_s)
    catalog = raw(api, "/profiler/metrics").json()["items"]
    assert {"name": "gpu_power", "unit": "watts", "group": "gpu", "kind": "gauge", "help": "Power draw"} in catalog
    with sdk(api, "viewer") as host:
        device = next(one for one in host.profiler_devices() if one["device"] == "gpu:0")
        assert (device["client"], device["uuid"], device["processes"][0]["owner"]) == (CLIENT, "GPU-1", "run:r1")
        newest = host.profiler_latest(["gpu_power", "cpu_utilization"])["series"]
        assert {one["device"]: one["values"] for one in newest} == {
            "gpu:0": {"gpu_power": 360.0},
            "machine": {"cpu_utilization": None},
        }
        answer = host.profiler_query(["gpu_power"], gpus="0", clients=CLIENT)
        assert answer["step_s"] == 0
        (line,) = answer["series"]
        assert (line["client"], line["device"], line["unit"], line["mean"]) == (CLIENT, "gpu:0", "watts", [360.0] * 5)
        assert line["at"][0] == pytest.approx(begin_s, abs=1e-5)
        assert host.profiler_query(["cpu_utilization"])["series"][0]["mean"] == [None] * 5
        total = host.profiler_query(["gpu_power"], aggregate="sum", by="all")["series"][0]
        assert [value for value in total["max"] if value is not None] == [360.0] * len([v for v in total["mean"] if v is not None])
        assert raw(api, "/profiler/query").json()["series"][0]["metric"] == "gpu_utilization"


def send(api: ApiHost, client: str, at_s: float, values: dict[str, float], device: str = "gpu:0", owner: str = "", **options: Any) -> None:
    """One sample, taken at ``at_s`` by the client's clock."""
    seq = len(api.profiler.samples.latest()) + 1
    columns = SampleColumns(
        device, owner, tuple(values), np.array([round(at_s * 1e6)], "<i8").tobytes(), np.array([*values.values()], "<f8").tobytes()
    )
    devices = (DeviceInfo(device, device.partition(":")[0], ""),)
    api.profiler.samples.append(ClientName(client), SampleBatch("0123456789abcdef", seq, (columns,), devices, **options))


def test_a_value_that_is_old_is_null_though_its_device_has_others(api: ApiHost) -> None:
    now_s = time.time()
    send(api, "c", now_s - 30, {"gpu_power": 350.0})
    send(api, "c", now_s, {"gpu_temperature": 55.0})
    send(api, "c", now_s - 30, {"process_memory_used": 1.0}, owner="run:r1")
    send(api, "c", now_s, {"process_memory_used": 2.0}, owner="run:r2")
    send(api, "c", now_s - 30, {"step_time": 40.0}, "slot:0", owner="run:r2")
    send(api, "c", now_s - 30, {"idle_share": 1.0}, "slot:0")
    send(api, "gone", now_s - 30, {"idle_share": 1.0}, "slot:0")
    send(api, "gone", now_s - 30, {"step_time": 40.0}, "slot:0", owner="run:r9")
    with sdk(api, "viewer") as host:
        found = {(one["client"], one["device"], one["owner"]): one for one in host.profiler_latest()["series"]}
    assert {key: one["values"] for key, one in found.items()} == {
        ("c", "gpu:0", ""): {"gpu_power": None, "gpu_temperature": 55.0},
        ("c", "gpu:0", "run:r2"): {"process_memory_used": 2.0},
        ("c", "slot:0", ""): {"idle_share": None},
        ("c", "slot:0", "run:r2"): {"step_time": 40.0},
        ("gone", "slot:0", ""): {"idle_share": None},
    }
    assert found["c", "gpu:0", ""]["at"] == pytest.approx(now_s, abs=0.01), "when it was last heard of"


@pytest.mark.parametrize("offset_s", [60.0, -60.0])
def test_all_times_are_by_the_hosts_clock(api: ApiHost, offset_s: float) -> None:
    now_s = time.time()
    for client, age_s in (("alive", 0.0), ("dead", 30.0)):
        send(api, client, now_s - age_s - offset_s, {"gpu_power": 350.0}, clock_offset_s=offset_s, clock_error_s=0.001)
    with sdk(api, "viewer") as host:
        newest = {one["client"]: one for one in host.profiler_latest(["gpu_power"])["series"]}
        devices = {one["client"]: one for one in host.profiler_devices()}
    assert {client: one["values"]["gpu_power"] for client, one in newest.items()} == {"alive": 350.0, "dead": None}
    for client, age_s in (("alive", 0.0), ("dead", 30.0)):
        assert newest[client]["at"] == pytest.approx(now_s - age_s, abs=0.01)
        assert devices[client]["seen_at"] == pytest.approx(now_s - age_s, abs=0.01)


def test_queries_that_cannot_be_are_refused(api: ApiHost) -> None:
    wrong = [{"metric": "made_up"}, {"from": "10", "to": "5"}, {"points": "1"}, {"aggregate": "median"}, {"from": "nan"}, {"to": "inf"}]
    for params in wrong:
        answer = raw(api, "/profiler/query", **params)
        assert answer.status_code in (400, 422), params
        assert answer.json()["code"] == "invalid_input", params


def test_a_session_from_start_to_report(api: ApiHost) -> None:
    with sdk(api) as host:
        assert host.start_profiler("mine", 0.2)["state"] == "running"
        with pytest.raises(ConflictError):
            host.start_profiler("mine", 0.2)
        with pytest.raises(InvalidInputError):
            host.start_profiler("../mine", 0.2)
        measure(api, 1, time.time(), rows=3)
        time_of_last = time.time() + 0.2
        assert api.profiler.sessions.intervals() == (("*", 0.2),)
        while time.time() < time_of_last + 0.01:
            pass  # the session is to hold the batch's last row, whose time is the wall clock's
        stopped = host.stop_profiler("mine")
        assert (stopped["state"], stopped["samples"]) == ("stopped", None)
        assert host.profiler_session("mine")["samples"] == 15
        assert [(session["name"], session["samples"]) for session in host.profiler_sessions()] == [("mine", 15)]
        assert b"".join(host.export_profiler_session("mine", "csv")).count(b"\n") == 16
        assert pq.read_table(io.BytesIO(b"".join(host.export_profiler_session("mine", "parquet")))).num_rows == 15
        assert b'"name": "mine"' in b"".join(host.export_profiler_session("mine", "json"))
        assert b"</html>" in b"".join(host.export_profiler_session("mine", "html"))
        assert host.profiler_summary("mine")["runs"] == []
        host.delete_profiler_session("mine")
        with pytest.raises(NotFoundError):
            host.profiler_session("mine")
    assert raw(api, "/profiler/sessions/mine/export").status_code == 404


def test_what_a_run_had_and_what_happened(api: ApiHost) -> None:
    with sdk(api) as host:
        host.start_profiler("mine")
        run, *_ = with_runs(api)
        api.call(_settled(api))
        measure(api, 1, time.time(), rows=1)
        api.train(run)
        api.call(_settled(api))
        notes = host.profiler_annotations()
        assert {"client", "op", "checkpoint", "eval"} <= {note["kind"] for note in notes}
        assert [note["at"] for note in notes] == sorted(note["at"] for note in notes)
        assert any(note["text"].startswith("experiment tiny was submitted") for note in notes)
        assert all(note["run"] == run for note in notes if note["kind"] == "eval")
        (line,) = host.profiler_query(["gpu_power"], runs=run)["series"]
        assert (line["run"], line["device"], line["mean"]) == (run, "gpu:0", [360.0])
        host.stop_profiler("mine")
        summary = host.profiler_summary("mine")
        used = next(one for one in summary["runs"] if one["run"] == run)
        assert used["slot_hours"] == used["gpu_hours"] > 0
        assert used["energy_wh"] == pytest.approx(360 * used["gpu_hours"])
        assert (used["memory_peak_bytes"], used["utilization_mean"]) == (5e9, 0.5)  # of its own processes
        page = b"".join(host.export_profiler_session("mine", "html")).decode()
        assert f"<td>{run}</td>" in page
        with pytest.raises(NotFoundError):
            host.profiler_query(["gpu_power"], runs="r99")


async def _settled(api: ApiHost) -> None:
    """The chronicle has seen all that was submitted, and the slots as they are."""
    while api.profiler.chronicle._seen < api.plan.seq:
        await asyncio.sleep(0)
    api.profiler.chronicle._look_at_slots(time.time())


def test_the_chronicle_goes_on_after_a_restart(api: ApiHost, tmp_path: Path) -> None:
    run, *_ = with_runs(api)
    api.call(_settled(api))
    before = api.profiler.chronicle.spans(0, time.time())

    async def again() -> tuple[list[Note], list[SlotSpan]]:
        await api.profiler.chronicle.close()
        other = Chronicle(api.root / "chronicle.db", api.plan, time.time)
        other.start()
        found = other.notes(0, time.time()).items, other.spans(0, time.time())
        await other.close()
        return found

    notes, spans = api.call(again())
    assert spans == before
    assert [span.run for span in spans] == [run]
    assert [note.kind for note in notes].count("op") == 1


def test_a_damaged_chronicle_is_begun_anew(api: ApiHost, tmp_path: Path) -> None:
    path = tmp_path / "odd" / "chronicle.db"
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)

    async def opened() -> list[Note]:
        chronicle = Chronicle(path, api.plan, time.time)
        notes = chronicle.notes(0, time.time()).items
        await chronicle.close()
        return notes

    assert api.call(opened()) == []
    assert path.with_suffix(".damaged").exists()


def test_the_command_line_leads_through_a_session(api: ApiHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSWARM_HOST", api.url)
    monkeypatch.setenv("GSWARM_TOKEN", api.bearer["operator"])
    monkeypatch.chdir(tmp_path)

    def cli(*args: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["profiler", *args])
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout if code == 0 else result.stderr

    assert "session night runs" in cli("start", "--name", "night", "--interval", "200ms", "--metric", "gpu_power")
    assert api.profiler.sessions.intervals() == (("*", 1.0), ("gpu_power", 0.2))
    measure(api, 1, time.time(), rows=1)
    assert "1 client is measured, with 1 GPU" in cli("status")
    assert cli("list", "-o", "quiet").split() == ["night"]
    assert "session night has ended after" in cli("stop", "night")
    shown = cli("show", "night")
    assert re.search(r"state +stopped", shown)
    assert re.search(r"values +1\n", shown)
    assert "no run had a slot in it" in shown
    assert json.loads(cli("show", "night", "-o", "json"))["runs"] == []
    assert "night.csv" in cli("export", "night")
    assert (tmp_path / "night.csv").read_text().count("gpu_power") == 1
    cli("export", "night", "--format", "html", "--to", str(tmp_path / "report.html"))
    assert (tmp_path / "report.html").read_text().endswith("</html>")
    assert "cannot be written" in cli("export", "night", "--to", str(tmp_path / "no" / "such"), code=1)
    assert cli("delete", "night", "-o", "quiet").split() == ["night"]
    assert "there is no profiler session" in cli("export", "night", code=1)
    assert not list(tmp_path.glob("*.part"))
    assert "is not a duration" in cli("start", "--name", "x", "--interval", "soon", code=1)
