"""What the command line does on this machine: contexts, doctor, init, the local host's files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gswarm.cli.background import start_in_background
from gswarm.cli.client import _without_token, is_address_of
from gswarm.cli.host import terminate
from gswarm.cli.main import app
from gswarm.cli.output import Json
from gswarm.cli.reach import Context, Contexts, read_contexts, write_contexts
from gswarm.domain.errors import ConflictError, CorruptDataError, InvalidInputError, NotFoundError
from gswarm.sdk import Endpoint, local_host, read_endpoint


@pytest.fixture(autouse=True)
def own_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GSWARM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GSWARM_DATA_DIR", str(tmp_path / "data"))


def write_endpoint(home: Path, pid: int = 1) -> None:
    (home / "host").mkdir(parents=True)
    document = {
        "http_url": "http://127.0.0.1:9",
        "grpc_address": "127.0.0.1:8090",
        "pool_port": 1,
        "pid": pid,
        "ca_path": "",
        "insecure": False,
    }
    (home / "host" / "endpoint.json").write_text(json.dumps(document))
    (home / "host" / "admin.token").write_text("gswt-secret\n")


def test_contexts_survive_and_are_private(tmp_path: Path) -> None:
    assert read_contexts() == Contexts("local", {})
    written = Contexts("box", {"box": Context("https://box:8091", "t", None)})
    write_contexts(written)
    assert read_contexts() == written
    assert (tmp_path / "data" / "contexts.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "data" / "contexts.json").write_text("[]")
    with pytest.raises(InvalidInputError, match="damaged"):
        read_contexts()


def test_the_local_host_is_found_by_its_files(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no host runs from"):
        read_endpoint(tmp_path)
    write_endpoint(tmp_path)
    endpoint = read_endpoint(tmp_path)
    assert (endpoint.pid, endpoint.url, endpoint.ca) == (1, "http://127.0.0.1:9", None)
    with local_host(tmp_path) as host:
        assert (host.url, host.grpc_address) == ("http://127.0.0.1:9", "127.0.0.1:8090")
    (tmp_path / "host" / "endpoint.json").write_text("{}")
    with pytest.raises(CorruptDataError):
        read_endpoint(tmp_path)


def test_stop_never_signals_another_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        with pytest.raises(NotFoundError, match="is gone"):
            terminate(Endpoint(process.pid, "", "", None, tmp_path), tmp_path)
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    with pytest.raises(NotFoundError, match="is gone"):
        terminate(Endpoint(process.pid, "", "", None, tmp_path), tmp_path)


def test_stop_ends_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    code = f"lock = open({str(tmp_path / 'host' / 'lock')!r}, 'w'); print(flush=True); import sys; sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    terminate(Endpoint(process.pid, "", "", None, tmp_path), tmp_path)
    assert process.poll() is not None
    process.communicate()


def test_a_background_command_that_ends_says_why(tmp_path: Path) -> None:
    def look(pid: int) -> Json:
        raise NotFoundError("not yet")

    with pytest.raises(ConflictError, match="exit code 2"):
        start_in_background(["nonsense"], tmp_path / "logs" / "x.log", look)
    assert "nonsense" in (tmp_path / "logs" / "x.log").read_text()
    with pytest.raises(ConflictError, match=r"there is no file none\.yaml"):
        start_in_background(["experiment", "validate", "none.yaml"], tmp_path / "logs" / "x.log", look)


@pytest.mark.parametrize(
    ("wanted", "known", "same"),
    [
        ("127.0.0.1:8090", "127.0.0.1:8090", True),
        ("localhost:8090", "127.0.0.1:8090", True),
        ("localhost", "127.0.0.1:8090", True),
        ("[::1]:8090", "127.0.0.1:8091", False),
        ("127.0.0.1:8091", "127.0.0.1:8090", False),
        ("192.0.2.1:8090", "192.0.2.1:8090", False),
    ],
)
def test_the_local_credential_is_used_for_this_machine_only(wanted: str, known: str, same: bool) -> None:
    assert is_address_of(wanted, known) is same


def test_init_writes_a_valid_experiment_and_never_overwrites(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert CliRunner().invoke(app, ["init", str(folder)]).exit_code == 0
    plan = CliRunner().invoke(app, ["experiment", "validate", str(folder / "experiment.yaml"), "-o", "json"])
    assert plan.exit_code == 0, plan.output
    document = json.loads(plan.stdout)
    assert len(document["runs"]) == 4
    assert document["spec"]["base"]["dataset"] == str(folder / "data.jsonl")
    again = CliRunner().invoke(app, ["init", str(folder)])
    assert again.exit_code == 1
    assert "is there already" in again.stderr


def test_validate_names_the_nearest_key(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("base: {model_name_or_path: m, dataset: d, lora_rnk: 8}\n")
    result = CliRunner().invoke(app, ["experiment", "validate", str(file)])
    assert result.exit_code == 1
    assert "lora_rank" in result.stderr
    assert result.stderr.count("\n") == 1
    assert CliRunner().invoke(app, ["experiment", "validate", str(tmp_path / "none.yaml")]).exit_code == 1


def test_doctor_reports_in_both_forms() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    document = json.loads(result.stdout)
    assert document["ok"] is (result.exit_code == 0)
    assert {"python", "data dir", "training packages", "devices", "host"} <= {finding["name"] for finding in document["findings"]}
    assert "python" in CliRunner().invoke(app, ["doctor"]).stdout


def test_version_and_completion() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("gswarm ")
    assert "_GSWARM_COMPLETE" in CliRunner().invoke(app, ["completion", "zsh"]).stdout
    assert CliRunner().invoke(app, ["completion", "tcsh"]).exit_code == 2


@pytest.mark.parametrize("given", [["--token", "gsw1-secret"], ["--token=gsw1-secret"]])
def test_a_process_in_the_background_does_not_show_its_token(given: list[str]) -> None:
    arguments = ["client", "connect", "10.0.0.1:8090", *given, "--resilient"]
    assert _without_token(arguments) == ["client", "connect", "10.0.0.1:8090", "--resilient"]


def test_secrets_of_a_process_in_the_background_go_by_its_environment(tmp_path: Path) -> None:
    told: list[int] = []

    def look(pid: int) -> Json:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert b"GSWARM_JOIN_TOKEN=gsw1-secret" in environment
        assert b"gsw1-secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        told.append(pid)
        os.kill(pid, signal.SIGKILL)
        return {}

    log = tmp_path / "home" / "logs" / "x.log"
    start_in_background(["client", "connect", "127.0.0.1:1"], log, look, {"GSWARM_JOIN_TOKEN": "gsw1-secret"})
    os.waitpid(told[0], 0)
    assert [folder.stat().st_mode & 0o777 for folder in (log.parent.parent, log.parent)] == [0o700, 0o700]
