"""``gswarm events`` and what the command line prints of names and messages that mean harm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from api_host import CLIENT, ApiHost, api_host, with_runs
from typer.testing import CliRunner

from gswarm.cli.main import app
from gswarm.domain.ids import RunId, SlotId
from gswarm.domain.messages import LogLine, StepMetrics
from gswarm.domain.plan import Failure, SlotSpec
from gswarm.scheduler.events import ChunkFailed, ClientDrainRequested, ClientLost, ClientRegistered

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\nforged line \u202egpj.exe<script>\x00"
Cli = Callable[..., str]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path / "host") as running:
        yield running


@pytest.fixture
def cli(api: ApiHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("GSWARM_HOST", api.url)
    monkeypatch.setenv("GSWARM_TOKEN", api.bearer["admin"])
    monkeypatch.setenv("GSWARM_DATA_DIR", str(tmp_path / "data"))

    def call(*args: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, args)
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    return call


def test_what_happened_is_told_with_who_asked_for_it(api: ApiHost, cli: Cli) -> None:
    with_runs(api)
    cli("run", "stop", "r1")
    lines = cli("events").splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4"]
    assert "r1: stop requested by admin:" in lines[3]
    assert cli("events", "-n", "1").splitlines() == lines[3:]
    assert cli("events", "--after", "2").splitlines() == lines[2:]
    assert cli("events", "-n", "0") == ""
    assert cli("events", "-o", "quiet").split() == ["1", "2", "3", "4"]
    assert [event["type"] for event in json.loads(cli("events", "-n", "2", "-o", "json"))] == ["job_finished", "run_op_requested"]


def test_only_what_is_about_something_is_told(api: ApiHost, cli: Cli) -> None:
    with_runs(api)
    cli("run", "stop", "r1")
    assert cli("events", "--run", "r1", "-o", "quiet").split() == ["4"]
    assert cli("events", "--experiment", "tiny", "--after", "1", "-o", "quiet").split() == ["3", "4"]
    assert cli("events", "-e", "tiny", "-c", CLIENT, "-o", "quiet").split() == ["3"]
    api.journal._entries_kept = 2
    for seq in (2, 3):
        api.journal.save_snapshot(seq, b"a state")
    assert cli("events", "--after", "2", "-o", "quiet").split() == ["3", "4"]
    assert "the oldest is 3" in cli("events", "--after", "1", code=1)
    assert "by caller" in cli("events", "--audit", "writes", "--run", "r1", code=1)


@pytest.mark.parametrize(
    ("begin", "told"),
    [
        (("--after", "2"), ["job_finished", "client_drain_requested"]),
        (("-n", "1"), ["job_finished", "client_drain_requested"]),
        (("--client", CLIENT), ["client_registered", "job_finished", "client_drain_requested"]),
        (("--run", "r1"), []),
    ],
)
def test_events_are_followed_until_the_host_ends(api: ApiHost, cli: Cli, begin: tuple[str, ...], told: list[str]) -> None:
    with_runs(api)
    own = api.plan._subscribers

    async def followed() -> None:
        while api.plan._subscribers == own:
            await asyncio.sleep(0.01)
        await api.plan.submit(ClientDrainRequested(CLIENT, True))
        await api.plan.close()

    following = asyncio.run_coroutine_threadsafe(followed(), api.loop)
    lines = cli("events", "-f", *begin, "-o", "json").splitlines()
    assert [json.loads(line)["type"] for line in lines] == told
    following.result(10)


def test_the_audit_log_is_shown_to_administrators(api: ApiHost, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with_runs(api)
    cli("run", "stop", "r1")
    httpx.get(f"{api.url}/api/v1/runs", headers={"Authorization": "Bearer wrong"})
    heading, first, second = cli("events", "--audit", "writes").splitlines()
    assert heading.split() == ["WHEN", "WHO", "FROM", "WHAT", "OUTCOME", "STATUS", "DETAIL"]
    assert first.split()[4:] == ["POST", "/api/v1/experiments", "done", "201", "made", "e1"]
    assert "POST /api/v1/runs/r1/stop" in second
    assert "127.0.0.1" in second
    assert [one["status"] for one in json.loads(cli("events", "--audit", "refusals", "-o", "json"))] == [401]
    assert "not followed" in cli("events", "--audit", "writes", "-f", code=1)
    monkeypatch.setenv("GSWARM_TOKEN", api.bearer["viewer"])
    assert "may not GET /api/v1/audit" in cli("events", "--audit", "writes", code=4)


def harm(api: ApiHost) -> None:
    """Everything that a client may name or say."""
    run = RunId(with_runs(api)[0])
    slots = (SlotSpec(SlotId(f"{CLIENT}/0"), "cpu" + EVIL, device_name=EVIL),)
    api.submit(ClientRegistered(CLIENT, "i1", "0.0" + EVIL, "", slots, labels=((EVIL, EVIL),)))
    grant = api.state.runs[run].grants[0]
    api.series.append([StepMetrics(run, grant.generation, 1, 1.0, ((EVIL, 1.0), ("loss", 2.0)))])
    api.submit(ChunkFailed(CLIENT, run, grant.generation, Failure("nan_loss" + EVIL, EVIL, False, EVIL)))
    api.run_logs.append([LogLine(run, 1.0, "info", EVIL)])
    api.submit(ClientLost(CLIENT, EVIL))


COMMANDS = (
    ("events", "-n", "50"),
    ("run", "list"),
    ("run", "show", "r1"),
    ("run", "logs", "r1"),
    ("run", "metrics", "r1"),
    ("run", "explain", "r1"),
    ("experiment", "list"),
    ("experiment", "show", "e1"),
    ("experiment", "results", "e1"),
    ("client", "list"),
    ("events", "--audit", "writes"),
)


def test_no_name_and_no_message_reaches_the_terminal_as_a_command(api: ApiHost, cli: Cli) -> None:
    harm(api)
    for command in COMMANDS:
        for output in ("table", "quiet"):
            printed = cli(*command, "-o", output)
            assert not set(printed) & set("\x1b\x07\x9b\r\u202e\x00"), (command, output)
            is_log = command[1] == "logs"  # its lines are the run's own
            assert is_log or not any(line.startswith("forged line") for line in printed.splitlines()), (command, output)
    assert "[2J" in cli("events"), "what is left is shown"
    error = cli("run", "show", "\x1b[31mnobody\u202e", code=1)
    assert not set(error) & set("\x1b\u202e")


def test_json_is_exact_and_still_harmless(api: ApiHost, cli: Cli) -> None:
    harm(api)
    printed = cli("events", "-o", "json")
    assert printed.isascii() or not set(printed) & set("\x1b\x07\x9b\r\u202e\x00")
    assert EVIL in json.loads(printed)[-1]["text"]
    (client,) = json.loads(cli("client", "list", "-o", "json"))
    assert client["labels"] == {EVIL: EVIL}
