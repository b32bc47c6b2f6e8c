"""The desk that looks, remembers and tells: over restarts, broken disks and broken channels; and what the API and the CLI show of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from api_host import CLIENT, ApiHost, api_host, with_runs
from typer.testing import CliRunner

from gswarm.cli.alerts import subject
from gswarm.cli.main import app
from gswarm.domain.alert_config import AlertConfig
from gswarm.domain.alerts import Alert, AlertRule
from gswarm.domain.errors import UnavailableError
from gswarm.domain.ids import RunId
from gswarm.domain.messages import StepMetrics
from gswarm.domain.plan import ClientState, Failure, RunState
from gswarm.domain.samples import MACHINE, SampleBatch, SampleColumns
from gswarm.host.alerting.channels import Channel
from gswarm.host.alerting.desk import AlertDesk
from gswarm.host.alerting.readings import Sources
from gswarm.profiler.alert_rules import GpuReading, Readings
from manual_clock import ManualClock

XID = Readings(gpus=(GpuReading("a", "gpu:0", xid=79.0),))


@dataclass
class Inbox:
    """A channel of the test's. While ``error`` is set it takes nothing; while ``hangs`` it says nothing."""

    name: str = "inbox"
    error: UnavailableError | None = None
    hangs: bool = False
    told: list[Alert] = field(default_factory=list)

    async def send(self, alerts: Sequence[Alert]) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.told += alerts

    def close(self) -> None:
        return


@dataclass
class Scene:
    """What the desk sees, in the test's hands."""

    readings: Readings = field(default_factory=Readings)
    broken: Sequence[tuple[str, str]] = ()

    def __call__(self, broken: Sequence[tuple[str, str]]) -> Callable[[], Readings]:
        self.broken = broken
        seen = Readings(self.readings.gpus, broken_channels=tuple(broken))
        return lambda: seen


@asynccontextmanager
async def desk(path: Path, scene: Scene, clock: ManualClock, *channels: Channel) -> AsyncIterator[AlertDesk]:
    made = AlertDesk(AlertConfig(), clock, scene, channels, path / "alerts.json")
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


async def test_it_looks_by_the_clock_and_tells(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gswarm.host.alerts")
    scene, clock, inbox = Scene(XID), ManualClock(), Inbox()
    async with desk(tmp_path, scene, clock, inbox) as found:
        clock.advance(AlertConfig().interval_s)
        await until(lambda: bool(inbox.told) and bool(clock.timers))
        assert [(alert.rule, alert.until_s) for alert in inbox.told] == [(AlertRule.XID, None)]
        assert found.firing == inbox.told == found.listed()
        scene.readings = Readings(gpus=(GpuReading("a", "gpu:0", xid=0.0),))
        clock.advance(3_600)
        await until(lambda: len(inbox.told) == 2)
        assert inbox.told[1].id == inbox.told[0].id
        assert (found.firing, found.listed()) == ([], [inbox.told[1]])
        clock.time_s += 3_601
        assert found.listed() == []
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.INFO]
    assert "XID 79" in caplog.records[0].message


async def test_a_restart_tells_nobody_twice_and_nobody_not_at_all(tmp_path: Path) -> None:
    scene, clock, working, broken = Scene(XID), ManualClock(), Inbox("working"), Inbox("broken", UnavailableError("down"))
    async with desk(tmp_path, scene, clock, working, broken) as found:
        await found.evaluate()
        await until(lambda: bool(working.told))
        (alert,) = found.firing
    broken.error = None
    async with desk(tmp_path, scene, clock, working, broken) as again:
        assert again.firing == [alert]
        await until(lambda: bool(broken.told))
        assert await again.evaluate() == []
        assert (working.told, broken.told) == ([alert], [alert])
    assert (tmp_path / "alerts.json").stat().st_mode & 0o077 == 0


async def test_a_state_that_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    for damage in (b"{", b'{"tracks": [["no_such_rule", {}, {}]]}', b"", b"null", b"\xff\xfe", b"[" * 100_000, b'{"ended": 5}'):
        (tmp_path / "alerts.json").write_bytes(damage)
        async with desk(tmp_path, Scene(XID), ManualClock()) as found:
            assert len(await found.evaluate()) == 1


async def test_a_full_disk_keeps_nobody_from_being_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    inbox = Inbox()
    async with desk(tmp_path / "file", Scene(XID), ManualClock(), inbox) as found:
        await found.evaluate()
        await until(lambda: bool(inbox.told))


async def test_a_channel_that_hangs_holds_nothing_up_and_one_that_fails_is_shown(tmp_path: Path) -> None:
    scene, clock = Scene(XID), ManualClock()
    hanging, failing, working = Inbox("hanging", hangs=True), Inbox("webhook", UnavailableError("it answers 500")), Inbox("working")
    async with desk(tmp_path, scene, clock, hanging, failing, working) as found:
        await found.evaluate()
        await until(lambda: bool(working.told))
        for wait_s in (2.0, 4.0, 60.0):
            await until(lambda: bool([timer for timer in clock.timers if timer.when_s > clock.time_s]))
            clock.time_s += wait_s
            due = clock.take_due(clock.time_s)
            while due is not None:
                due.callback()
                due = clock.take_due(clock.time_s)
            for _ in range(10):
                await asyncio.sleep(0)
            await found.evaluate()
        assert scene.broken == [("webhook", "it answers 500")]
        assert AlertRule.DELIVERY in [alert.rule for alert in found.firing]
        await until(lambda: AlertRule.DELIVERY in [alert.rule for alert in working.told])


async def test_rules_that_fail_are_tried_again(tmp_path: Path) -> None:
    clock, tries = ManualClock(), 0

    def look(_broken: Sequence[tuple[str, str]]) -> Callable[[], Readings]:
        nonlocal tries
        tries += 1
        raise (UnavailableError("later"), ValueError("a mistake"))[tries % 2]

    made = AlertDesk(AlertConfig(), clock, look, (), tmp_path / "alerts.json")
    await made.start()
    for number in (1, 2, 3):
        clock.advance(5.0)
        await until(lambda number=number: tries == number and bool([timer for timer in clock.timers if timer.when_s > clock.time_s]))
    await made.close()
    await made.close()


# ---- over a real plan and real stores -----------------------------------------------------------------------------------


def columns(device: str, at_s: float, values: dict[str, float], owner: str = "") -> SampleColumns:
    times = np.array([round(at_s * 1e6)], "<i8")
    return SampleColumns(device, owner, tuple(values), times.tobytes(), np.array(list(values.values()), "<f8").tobytes())


def sources(api: ApiHost, clock: Callable[[], float]) -> Sources:
    disks = {"data": api.root}
    return Sources(api.state, lambda: frozenset({CLIENT}), api.profiler.samples, api.series, AlertConfig(), disks, clock)


def test_readings_of_a_real_plan(tmp_path: Path) -> None:
    with api_host(tmp_path) as api:
        first, *_ = with_runs(api, slots=1)
        now_s = api.plan._clock()
        assert sources(api, lambda: now_s + 40)([])().clients[0].sample_age_s == pytest.approx(40, abs=1), "it never told anything"
        machine = {"cpu_utilization": 0.5, "samples_lost": 0.0, "disk_free": 1e9, "disk_total": 1e11}
        gpu = {"gpu_utilization": 1.0, "gpu_power": 80.0, "gpu_power_limit": 700.0, "gpu_xid": 0.0}
        batch = SampleBatch(
            "s",
            1,
            (
                columns(MACHINE, now_s, machine),
                columns("gpu:0", now_s, gpu),
                columns("gpu:1", now_s - 60, gpu),
                columns("gpu:0", now_s, {"process_memory_used": 5.0}, "run:r1"),
            ),
        )
        api.profiler.samples.append(CLIENT, batch)
        api.series.append([StepMetrics(RunId(first), 1, step, now_s, (("loss", 2.0),)) for step in range(150)])
        look = sources(api, lambda: now_s)
        seen = look([])()
        (reading,) = seen.gpus
        assert (reading.client, reading.device, reading.power_watts, reading.owners) == (CLIENT, "gpu:0", 80.0, ("run:r1",))
        assert seen.runs[0].run == first
        assert len(seen.runs[0].losses) == 100
        assert (seen.idle_slots, seen.waiting_runs) == ((), 1)
        assert seen.queued == {run.id for run in api.state.runs.values() if run.state is RunState.QUEUED} != set()
        (client,) = seen.clients
        assert (client.silent_since_s, client.sample_age_s, client.disk_free_bytes) == (None, None, 1e9), "it joined just now"
        later = sources(api, lambda: now_s + 40)([])()
        assert later.gpus == (), "stale"
        assert later.clients[0].sample_age_s == pytest.approx(40, abs=1)

        record = api.state.runs[RunId(first)]
        record.state, record.failure, record.ended_at_s = RunState.FAILED, Failure("nan_loss", "no number"), now_s
        known = api.state.clients[CLIENT]
        known.state, known.lost_at_s, known.lost_reason = ClientState.LOST, now_s, "silent for 15 s"
        seen = look([])()
        assert "nan_loss" in [run.failure for run in seen.runs]
        assert seen.clients[0].silent_since_s == now_s
        known.lost_reason = "it said good-bye"
        assert look([])().clients[0].silent_since_s is None


def test_losses_follow_a_run_that_goes_back(tmp_path: Path) -> None:
    with api_host(tmp_path) as api:
        first, *_ = with_runs(api, slots=1)
        look = sources(api, lambda: 1.0)
        for steps, value in ((range(10), 1.0), (range(10, 20), 2.0)):
            api.series.append([StepMetrics(RunId(first), 1, step, 1.0, (("loss", value),)) for step in steps])
            losses = look([])().runs[0].losses
        assert losses == (1.0,) * 10 + (2.0,) * 10


def test_the_api_and_the_command_show_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with api_host(tmp_path) as api:
        monkeypatch.setenv("GSWARM_HOST", api.url)
        monkeypatch.setenv("GSWARM_TOKEN", api.bearer["viewer"])
        assert CliRunner().invoke(app, ["alerts"]).stdout == "nothing is wrong\n"
        api.alerts._look = lambda broken: lambda: XID
        api.call(api.alerts.evaluate())
        answer = httpx.get(f"{api.url}/api/v1/alerts", headers={"Authorization": f"Bearer {api.bearer['viewer']}"}).json()
        (item,) = answer["items"]
        assert (item["rule"], item["severity"], item["client"], item["device"], item["run"]) == ("xid", "critical", "a", "gpu:0", None)
        assert (item["until"], item["value"], answer["left_out"]) == (None, 79.0, 0)
        assert {rule["rule"]: rule["is_on"] for rule in answer["rules"]} == dict.fromkeys(AlertRule, True)
        assert answer["channels"] == []
        shown = CliRunner().invoke(app, ["alerts"]).stdout
        assert "critical" in shown
        assert "a gpu:0" in shown
        assert json.loads(CliRunner().invoke(app, ["alerts", "-o", "json"]).stdout) == [item]
        assert subject({"client": None, "device": None, "run": None}) == "host"
        exposed = httpx.get(f"{api.url}/metrics", headers={"Authorization": f"Bearer {api.bearer['viewer']}"}).text
        assert 'gswarm_alerts_firing{rule="xid",severity="critical"} 1.0' in exposed
        api.alerts._look = lambda broken: Readings
        began_s, clock = item["since"], api.alerts._clock
        monkeypatch.setattr(type(clock), "now_s", lambda _clock: began_s + 3_600)
        api.call(api.alerts.evaluate())
        assert CliRunner().invoke(app, ["alerts"]).stdout == "nothing is wrong\n"
        assert CliRunner().invoke(app, ["alerts", "--all", "-o", "quiet"]).stdout.strip() == item["id"]
