"""The command line against a real API: what it prints, and how it exits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_host import CLIENT, EXPERIMENT, ApiHost, api_host, with_runs
from typer.testing import CliRunner

from gswarm.cli.main import app
from gswarm.datapool.manifest import Entry, Manifest, save_manifest
from gswarm.domain.ids import JobId, RunId
from gswarm.domain.messages import LogLine, StepMetrics
from gswarm.domain.plan import Failure, RunOp, RunState
from gswarm.scheduler.events import JobFinished
from gswarm.scheduler.lifecycle import TABLE, Allowed
from gswarm.wire.tls import make_key_and_csr


@dataclass
class Cli:
    api: ApiHost
    folder: Path

    def __call__(self, *args: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, args)
        assert result.exit_code == code, (result.exit_code, result.output, result.exception)
        return result.stdout if code == 0 else result.stderr

    def json(self, *args: str) -> Any:
        return json.loads(self(*args, "-o", "json"))


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    with api_host(tmp_path / "host") as api:
        monkeypatch.setenv("GSWARM_HOST", api.url)
        monkeypatch.setenv("GSWARM_TOKEN", api.bearer["operator"])
        monkeypatch.setenv("GSWARM_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.chdir(tmp_path)
        yield Cli(api, tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    return path


def test_submit_waits_until_prepared(cli: Cli, file: Path) -> None:
    cli.api.join()
    cli.api.once("j1", cli.api.prepare)
    assert "e1 (tiny) is active with 3 runs" in cli("experiment", "submit", str(file))


def test_submit_prints_the_rejection_and_exits_1(cli: Cli, file: Path) -> None:
    cli.api.join()
    failure = Failure("not_found", "there is no data set tiny-data")
    cli.api.once("j1", lambda: cli.api.submit(JobFinished(CLIENT, JobId("j1"), failure=failure)))
    assert "error: tiny was rejected: client left: there is no data set tiny-data; nothing was queued" in cli(
        "experiment", "submit", str(file), code=1
    )


def test_dry_run_submits_nothing_and_prints_the_runs(cli: Cli, file: Path) -> None:
    text = cli("experiment", "submit", str(file), "--dry-run")
    assert "learning_rate=1e-05" in text
    assert cli.json("experiment", "validate", str(file))["runs"][2]["changes"] == {"learning_rate": "0.001"}
    assert cli.json("experiment", "list") == []


def test_watch_prints_a_line_a_change_and_ends_with_the_leaderboard(cli: Cli, file: Path) -> None:
    def train() -> None:
        cli.api.join()
        cli.api.prepare()
        for run, loss in (("r1", 2.0), ("r2", 1.0), ("r3", 3.0)):
            while cli.api.state.runs[RunId(run)].position < 16:
                cli.api.train(run, loss)

    cli.api.once("j1", threading.Timer(0.2, train).start)
    text = cli("experiment", "submit", str(file), "--watch")
    assert "waiting for a client" in text
    assert "e1 tiny: idle" in text
    board = text[text.index("RUN") :]
    assert board.index("r2") < board.index("r1") < board.index("r3")
    assert "gswarm run export r2" in board
    assert "gswarm run verify r2" in board
    lines = cli("experiment", "watch", "tiny", "-o", "json").splitlines()
    assert json.loads(lines[0])["state"] == "idle"


def test_every_list_and_show_is_one_json_document(cli: Cli) -> None:
    run = with_runs(cli.api)[0]
    cli.api.train(run)
    for command in (
        "experiment list",
        "experiment show tiny",
        "experiment results tiny",
        "experiment explain tiny",
        "run list",
        f"run show {run}",
        f"run metrics {run}",
        f"run logs {run}",
        f"run explain {run}",
        "run diff r1 r2",
        "client list",
        "client show left",
        "context list",
    ):
        cli.json(*command.split())
        assert cli(*command.split()).strip() or command.startswith("run logs")


def test_quiet_prints_ids_only(cli: Cli) -> None:
    runs = with_runs(cli.api)
    assert cli("run", "list", "-o", "quiet").split() == runs
    assert cli("experiment", "list", "-o", "quiet").split() == ["e1"]
    clone = cli("run", "clone", runs[0], "--set", "learning_rate=3e-4", "-o", "quiet").split()
    assert clone == ["r4"]
    assert cli.json("run", "show", "r4")["spec"]["learning_rate"] == 3e-4


@pytest.mark.parametrize("op", list(RunOp))
@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING, RunState.STOPPED, RunState.COMPLETED, RunState.DELETING])
def test_operations_follow_the_lifecycle_table(cli: Cli, state: RunState, op: RunOp) -> None:
    first, _, last = with_runs(cli.api)
    run = last if state is RunState.QUEUED else first
    cli.api.bring_to(run, state)
    cell = TABLE[state][op]
    if isinstance(cell, Allowed):
        assert cli("run", op, run).strip()
    else:
        message = cli("run", op, run, code=1)
        assert message.startswith(f"error: cannot {op} {run}: {cell.reason}")
        assert "possible now" in message
        assert message.count("\n") == 1


def test_several_runs_and_conditions(cli: Cli) -> None:
    first, _, third = with_runs(cli.api)
    cli.api.train(first, 3.0)
    assert [run["id"] for run in cli.json("run", "list", "--where", "eval_loss > 2")] == [first]
    stopped = cli.json("run", "stop", "--where", "eval_loss > 2 and total_steps == 16")
    assert [run["id"] for run in stopped] == [first]
    assert "no run matches" in cli("run", "stop", "--where", "eval_loss > 99", code=1)
    assert "no run has a number nothing" in cli("run", "stop", "--where", "nothing > 1", code=1).replace("'", "")
    cli("run", "stop", code=2)
    cli("run", "stop", first, "--where", "eval_loss > 2", code=2)
    both = cli("run", "stop", first, third, code=1)
    assert f"error: cannot stop {first}: " in both
    assert cli.json("run", "show", third)["state"] in ("stopping", "stopped")


def test_verify_says_identical_with_the_digest(cli: Cli) -> None:
    run = with_runs(cli.api)[0]
    cli.api.train(run)
    result = {
        "identical": True,
        "digest": "d" * 64,
        "expected": "d" * 64,
        "max_abs_difference": 0.0,
        "steps": 4,
        "device": "cpu",
        "seconds": 2.0,
    }
    cli.api.once("j2", lambda: cli.api.finish_job(JobId("j2"), json.dumps(result)))
    assert f"identical  {'d' * 64}" in cli("run", "verify", run)
    different = {**result, "identical": False, "digest": "e" * 64, "max_abs_difference": 1e-6}
    cli.api.once("j3", lambda: cli.api.finish_job(JobId("j3"), json.dumps(different)))
    cli("run", "verify", run, code=1)


def test_export_downloads_into_a_new_folder_only(cli: Cli) -> None:
    run = with_runs(cli.api)[0]
    cli.api.train(run)
    with cli.api.store.ingest() as ingest:
        ingest.write(b"weights")
        digest = ingest.commit()
    manifest = save_manifest(cli.api.store, Manifest("export", (Entry("adapter_model.safetensors", digest, 7),)))
    cli.api.once("j2", lambda: cli.api.finish_job(JobId("j2"), json.dumps({"manifest": manifest})))
    document = cli.json("run", "export", run, "--to", "out")
    assert document[0]["files"] == ["adapter_model.safetensors"]
    assert (cli.folder / "out" / "adapter_model.safetensors").read_bytes() == b"weights"
    assert "is there already" in cli("run", "export", run, "--to", "out", code=1)


def test_logs_and_metrics(cli: Cli) -> None:
    run = RunId(with_runs(cli.api)[0])
    cli.api.run_logs.append([LogLine(run, 10.0, "info", "hello")])
    cli.api.series.append([StepMetrics(run, 1, step, 10.0, (("loss", 1.0 / step),)) for step in (1, 2, 4)])
    assert cli("run", "logs", run, "-o", "quiet") == "hello\n"
    row = cli("run", "metrics", run).splitlines()[1].split()
    assert row[:7] == ["loss", "3", "4", "1", "0.25", "0.25", "1"]
    assert cli.json("run", "metrics", run, "-m", "loss")["series"][0]["points"][-1][:2] == [4, 0.25]


def test_experiments_are_steered(cli: Cli) -> None:
    runs = with_runs(cli.api)
    assert "stopping=2" in cli("experiment", "stop", "tiny")
    for run in runs:
        cli.api.give_back(run)
    assert "is idle" in cli("experiment", "show", "tiny") or cli.json("experiment", "show", "tiny")["state"] == "idle"
    cli("experiment", "resume", "tiny")
    cli("experiment", "delete", "tiny")
    assert cli.json("experiment", "list") == []
    cli("experiment", "restore", "e1")


def test_clients_are_steered(cli: Cli) -> None:
    with_runs(cli.api)
    assert cli.json("client", "drain", "left")["state"] == "draining"
    assert "takes work again" in cli("client", "resume", "left")
    assert "asked to leave" in cli("client", "disconnect", "left")
    assert "there is no client" in cli("client", "show", "nobody", code=1)


def test_exit_codes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "error: there is no run 'r9'" in cli("run", "show", "r9", code=1)
    cli("run", "shw", code=2)
    assert "may not GET" in cli("token", "list", code=4)
    monkeypatch.setenv("GSWARM_TOKEN", "wrong")
    assert cli("run", "list", code=4).startswith("error: ")
    monkeypatch.delenv("GSWARM_TOKEN")
    assert "GSWARM_TOKEN" in cli("run", "list", code=4)
    monkeypatch.setenv("GSWARM_TOKEN", "wrong")
    monkeypatch.setenv("GSWARM_HOST", "http://127.0.0.1:9")
    assert "cannot be reached" in cli("run", "list", code=3)
    monkeypatch.delenv("GSWARM_HOST")
    assert "no host is known" in cli("run", "list", code=3)
    assert "no host runs from" in cli("host", "status", code=3)
    assert "no host runs from" in cli("host", "stop", code=1)


def test_tokens(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSWARM_TOKEN", cli.api.bearer["admin"])
    made = cli.json("token", "create", "--role", "client", "--ttl", "15m", "--uses", "2")
    assert made["token"].startswith("gsw1-")
    assert round(made["expires_at"] - made["created_at"]) == 900
    assert "gswarm client connect" in cli("token", "create", "--role", "client")
    assert made["id"] in cli("token", "list")
    assert "revoked" in cli("token", "revoke", made["id"])
    _key, csr = make_key_and_csr("node-1")
    joining = cli.json("token", "create", "--role", "client")
    cli.api.tokens.enrol(joining["token"], "node-1", csr)
    assert "node-1 is cut off" in cli("client", "disconnect", "node-1", "--revoke")
    assert cli.json("client", "disconnect", "node-1", "--revoke") == {"name": "node-1", "revoked": True}
    assert "no machine has joined as 'nobody'" in cli("client", "disconnect", "nobody", "--revoke", code=1)
    again = cli.json("token", "create", "--role", "client", "--name", "node-1")
    cli.api.tokens.enrol(again["token"], "node-1", csr)
    assert f"token {again['id']} is revoked; cut off: node-1" in cli("token", "revoke", again["id"])
    assert "not a duration" in cli("token", "create", "--role", "viewer", "--ttl", "soon", code=1)


def test_login_and_contexts(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    token = cli.api.bearer["viewer"]
    cli("login", cli.api.url, "--token", token, "--name", "box")
    contexts = cli.folder / "data" / "contexts.json"
    assert contexts.stat().st_mode & 0o777 == 0o600
    assert [row["name"] for row in cli.json("context", "list") if row["current"]] == ["box"]
    monkeypatch.delenv("GSWARM_HOST")
    monkeypatch.delenv("GSWARM_TOKEN")
    assert cli.json("run", "list") == []
    cli("context", "use", "local")
    cli("run", "list", code=3)
    assert "there is no context" in cli("context", "use", "moon", code=1)
    cli("login", cli.api.url, "--token", "wrong", code=4)
    contexts.write_text("{")
    assert "is damaged" in cli("context", "list", code=1)
