"""Bad input and a bad machine, end to end: one clear line that says what is wrong and what to do, and nothing is lost.

Every case goes through the real command line and real processes, as a person would meet it.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from experiments import experiment, write_experiment
from real_cluster import RealCluster

from gswarm.sdk import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train]

REFUSED, NOT_REACHED, NOT_AUTHORISED = 1, 3, 4
TOGETHER = 3
"""Commands that run at the same time: most of their time is Python's start."""
LAUGHS = "a: &a [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"{chr(98 + depth)}: &{chr(98 + depth)} [{', '.join(['*' + chr(97 + depth)] * 9)}]\n" for depth in range(12)
)
TAG = "experiment: !!python/object/apply:os.system ['touch {}']\n"


@dataclass(frozen=True, slots=True)
class Case:
    """A command and what it must say; ``says`` are parts of the line, in any order."""

    args: tuple[str, ...]
    says: tuple[str, ...]
    code: int = REFUSED
    is_daemon: bool = False
    """It logs before it ends; the error is its last line."""


def refusal(cluster: RealCluster, case: Case) -> str:
    """Runs the command and returns its one line of error."""
    done = cluster.cli(*case.args, code=case.code)
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], f"{case.args}\n{done.stderr}"
    assert case.is_daemon or len(lines) == 1, f"{case.args}\n{done.stderr}"
    assert "Traceback" not in done.stderr + done.stdout
    missing = [part for part in case.says if part not in lines[-1]]
    assert not missing, f"{case.args}: {missing} is not in {lines[-1]!r}"
    if "json" in case.args:
        assert done.stdout == ""
    return lines[-1]


def check_all(cluster: RealCluster, cases: Mapping[str, Case]) -> None:
    """All cases; those that fail are reported together, by name."""
    with ThreadPoolExecutor(TOGETHER) as pool:
        pending = {name: pool.submit(refusal, cluster, case) for name, case in cases.items()}
    wrong = {name: error for name, future in pending.items() if (error := future.exception()) is not None}
    assert not wrong, "\n\n".join(f"{name}: {error}" for name, error in wrong.items())


@contextmanager
def nothing_changes(host: Host) -> Iterator[None]:
    """Runs, open jobs, clients, and experiments that were not rejected are the same afterwards."""

    def look() -> list[Any]:
        living = [(one["id"], one["state"]) for one in host.experiments() if one["state"] != "rejected"]
        return [living, [(run["id"], run["state"]) for run in host.runs()], [(one["name"], one["state"]) for one in host.clients()]]

    before = look()
    yield
    assert look() == before


def without(document: dict[str, Any], section: str, key: str) -> dict[str, Any]:
    return {**document, section: {name: value for name, value in document[section].items() if name != key}}


# ---- files -------------------------------------------------------------------------------------------------------------------


def bad_files(assets: Path, folder: Path) -> dict[str, tuple[str | bytes, tuple[str, ...]]]:
    """Content by name, and what is said about it."""
    good = experiment(assets, "bad-file")

    def searched(**search: Any) -> str:
        return str(yaml.safe_dump({**good, "search": {"method": "grid", **search}}))

    rate = {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3}
    thousand = {"values": list(range(1, 1001))}
    return {
        "misspelt": (yaml.safe_dump(experiment(assets, "x", learning_rat=1e-3)), ("base.learning_rat", "did you mean learning_rate")),
        "section": (yaml.safe_dump({**good, "serch": {}}), ("serch", "did you mean search")),
        "parameter": (searched(parameters={"lora_rnak": {"values": [4]}}), ("lora_rnak", "did you mean lora_rank")),
        "two": (yaml.safe_dump(experiment(assets, "x", lora_rank=0, seed="x")), ("2 problems: ", "base.lora_rank: ", "; base.seed: ")),
        "no-model": (yaml.safe_dump(without(good, "base", "model_name_or_path")), ("model_name_or_path", "missing")),
        "tag": (TAG.format(folder / "ran"), ("line 1, column 13", "tag", "os.system")),
        "laughs": (LAUGHS, ("more than 10,000 values", "aliases")),
        "deep": ("[" * 100 + "]" * 100, ("32 levels",)),
        "huge": (b"# long\n" * 200_000, ("more than 1,000,000",)),
        "binary": (bytes(range(256)), ("not UTF-8",)),
        "syntax": ("experiment: [a\nb: }\n", ("line 2", "expected")),
        "no-values": (searched(parameters={"seed": {"values": []}}), ("search.parameters.seed.values", "one value or more")),
        "no-space": (searched(parameters={}), ("search space is empty", "leave search out")),
        "no-runs": (searched(run_cap=0, parameters={"seed": {"values": [1]}}), ("search.run_cap", "at least 1")),
        "many-runs": (searched(method="random", run_cap=10**9, parameters={"learning_rate": rate}), ("search.run_cap", "at most 10000")),
        "many-combinations": (
            searched(parameters=dict.fromkeys(("seed", "lora_alpha", "per_device_eval_batch_size"), thousand)),
            ("1,000,000,000 combinations", "at most 10,000 runs", "search.run_cap"),
        ),
    }


def test_files_that_cannot_be_meant(cluster: RealCluster, assets: Path, tmp_path: Path) -> None:
    cases = {"absent": Case(("experiment", "submit", str(tmp_path / "absent.yaml")), ("there is no file", "absent.yaml"))}
    for name, (content, says) in bad_files(assets, tmp_path).items():
        file = tmp_path / f"{name}.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        cases[name] = Case(("experiment", "submit", str(file), "-o", "json"), says)
    with cluster.api() as host:
        seq = host.ready()["seq"]
        with nothing_changes(host):
            check_all(cluster, cases)
        assert host.ready()["seq"] == seq
    assert not (tmp_path / "ran").exists()


def test_the_same_files_by_rest_are_problem_documents(cluster: RealCluster, assets: Path, tmp_path: Path) -> None:
    endpoint = json.loads((cluster.data_dir / "host" / "endpoint.json").read_text())
    token = (cluster.data_dir / "host" / "admin.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/yaml"}
    with cluster.api() as host, nothing_changes(host), httpx.Client(base_url=endpoint["http_url"], headers=headers, timeout=30) as http:
        for name, (content, says) in bad_files(assets, tmp_path).items():
            answer = http.post("/api/v1/experiments", content=content, headers={"Idempotency-Key": f"bad-input-{name}"})
            assert answer.headers["content-type"] == "application/problem+json", name
            problem = answer.json()
            assert {"type", "title", "status", "detail", "code", "hint"} <= problem.keys()
            assert problem["status"] == answer.status_code
            assert 400 <= answer.status_code < 500, name
            if name not in ("huge", "binary", "two"):
                assert all(part in f"{problem['detail']}; {problem['hint']}" for part in says), f"{name}: {problem}"
    assert not (tmp_path / "ran").exists()


# ---- models and data ---------------------------------------------------------------------------------------------------------


def test_models_and_data_are_checked_on_a_client_before_anything_is_queued(cluster: RealCluster, assets: Path, tmp_path: Path) -> None:
    rows = (assets / "chat.jsonl").read_text().splitlines()
    (tmp_path / "row.jsonl").write_text("\n".join([*rows[:2], json.dumps({"question": "?", "answer": "!"}), *rows[2:4]]) + "\n")
    absent_model, absent_data = str(tmp_path / "no-model"), str(tmp_path / "no-data.jsonl")
    changes: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        "model": ({"model_name_or_path": absent_model}, (f"there is no model folder {absent_model}",)),
        "data": ({"dataset": absent_data}, (f"there is no data set file {absent_data}",)),
        "row": ({"dataset": str(tmp_path / "row.jsonl")}, ("row.jsonl, row 3: found the columns answer, question", "use alpaca")),
        "chunks": ({"chunks": {"num_chunks": 1000}}, ("num_chunks is 1000, but an epoch has only 26", "at most 26")),
    }
    cases = {}
    for name, (change, says) in changes.items():
        file = write_experiment(tmp_path / f"{name}.yaml", experiment(assets, f"no-{name}", **change))
        where = () if name == "chunks" else ("client ",)
        cases[name] = Case(
            ("experiment", "submit", str(file), "-o", "quiet"),
            (f"no-{name} was rejected: ", *where, *says, "nothing was queued; correct it and submit again"),
        )
    with cluster.api() as host, nothing_changes(host):
        check_all(cluster, cases)
        assert all(host.experiment(f"no-{name}")["state"] == "rejected" for name in changes)


# ---- names, operations, loss ---------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_that_run_alone_and_the_cluster_trains_on(cluster: RealCluster, assets: Path, tmp_path: Path) -> None:
    absurd = {"learning_rate": {"values": [1e-3, 100.0]}}
    file = write_experiment(
        tmp_path / "nan.yaml",
        experiment(
            assets, "absurd", finetuning_type="full", max_grad_norm=1e9, lr_scheduler_type="constant", search={"parameters": absurd}
        ),
    )
    watched = cluster.cli("experiment", "submit", str(file), "--watch")
    assert "the loss is nan" in watched.stdout
    with cluster.api() as host:
        sane, lost = host.experiment_runs("absurd")
        assert (sane["state"], sane["position"], lost["state"]) == ("completed", sane["total_steps"], "failed")
        assert lost["failure"]["code"] == "nan_loss"
        assert "lower learning_rate" in lost["failure"]["message"]
        points = host.metrics(lost["id"], ("learning_rate",))["series"][0]["points"]
        assert points, "what was measured before the failure is kept"
        log = cluster.cli("run", "logs", lost["id"]).stdout
        assert "(nan_loss): the loss is nan" in log
        assert "possible" in cluster.cli("run", "show", lost["id"]).stdout
        check_operations(cluster, host, file, sane["id"], lost["id"])
        host.delete_run(sane["id"])
        line = refusal(cluster, Case(("experiment", "watch", "absurd", "-o", "quiet"), ("every run of absurd failed", "gswarm run logs")))
        assert line.count("error: ") == 1


def check_operations(cluster: RealCluster, host: Host, file: Path, completed: str, failed: str) -> None:
    """What these two runs and their experiment refuse."""
    ended = "possible now: clone, delete"
    cases = {
        "a name twice": Case(("experiment", "submit", str(file)), ("named 'absurd' already", "--name")),
        "a name twice, json": Case(("experiment", "submit", str(file), "-o", "json"), ("named 'absurd' already",)),
        "no name": Case(("experiment", "submit", str(file), "--name", "a b"), ("a b is not a name",)),
        "stop": Case(("run", "stop", completed, "-o", "json"), (f"cannot stop {completed}", "(state completed)", ended)),
        "resume": Case(("run", "resume", completed), ("it has trained all its steps", ended)),
        "restore": Case(("run", "restore", failed), ("it is not deleted (state failed)", "possible now: resume, clone, delete")),
        "no run": Case(("run", "show", "r0"), ("there is no run 'r0'", "gswarm run list")),
        "clone a key": Case(("run", "clone", completed, "--set", "learning_rat=1"), ("did you mean learning_rate",)),
        "clone a step": Case(("run", "clone", completed, "--warm-start", "7"), ("no checkpoint", "kept steps")),
        "no experiment": Case(("experiment", "stop", "nothing"), ("there is no experiment 'nothing'",)),
        "experiment": Case(("experiment", "stop", "absurd"), ("cannot stop", "possible now: resume, delete")),
        "metric": Case(("experiment", "results", "absurd", "--metric", "eval_los"), ("no run", "'eval_los'", "eval_loss")),
        "no client": Case(("client", "drain", "nobody"), ("there is no client 'nobody'", "left")),
    }
    with nothing_changes(host):
        check_all(cluster, cases)


# ---- joining ---------------------------------------------------------------------------------------------------------------


def connect(cluster: RealCluster, folder: Path, name: str, token: str | None, *extra: str, port: int = 0) -> tuple[str, ...]:
    join = ("--token", token) if token is not None else ()
    args = ("client", "connect", f"127.0.0.1:{port or cluster.port}", "--name", name, "--slots", "cpu:1", *join)
    return (*args, "--data-dir", str(folder / name), *extra)


def test_clients_that_may_not_join(cluster: RealCluster, tmp_path: Path, new_cluster: Callable[[], RealCluster]) -> None:
    def token(*options: str, role: str = "client") -> str:
        return cluster.cli("token", "create", "--role", role, *options, "-o", "quiet").stdout.strip()

    expired, fresh = token("--ttl", "1s"), token()
    with cluster.api() as host:
        used = next(one["id"] for one in host.tokens() if one["role"] == "client" and one["uses_left"] == 0)
        assert used
        with nothing_changes(host):
            newer = refuse_other_version(cluster, connect(cluster, tmp_path, "newer", fresh))
            assert all(part in newer for part in ("gswarm '99.1.0'", "the host has", "install gswarm"))
            cases = {
                "name": Case(connect(cluster, tmp_path, "left", fresh), ("client", "left", "--name"), is_daemon=True),
                "here": Case(
                    connect(cluster, cluster.root, "left", None, "--data-dir", str(cluster.root / "client-left")),
                    ("a client named left runs on this machine already", "--name"),
                    is_daemon=True,
                ),
                "expired": Case(connect(cluster, tmp_path, "late", expired), ("has expired", "token create"), NOT_AUTHORISED, True),
                "mistyped": Case(connect(cluster, tmp_path, "typo", fresh[:-1]), ("copy the whole line",), is_daemon=True),
                "viewer": Case(connect(cluster, tmp_path, "viewer", token(role="viewer")), ("one for the API",), is_daemon=True),
                "slots": Case(connect(cluster, tmp_path, "slots", fresh, "--slots", "gpu:7"), ("GPU 7 is not there",), is_daemon=True),
                "address": Case(connect(cluster, tmp_path, "far", fresh, port=99999), ("no address of a host", "10.0.0.1:8090")),
                "file": Case(
                    connect(cluster, tmp_path, "file", fresh, "--data-dir", "/proc/nothing"),
                    ("cannot be used", "--data-dir"),
                    is_daemon=True,
                ),
                "ttl": Case(("token", "create", "--role", "client", "--ttl", "0s"), ("'0s' is not a duration", "15m")),
            }
            check_all(cluster, cases)
        other = new_cluster()
        other.start_host()
        shutil.copytree(cluster.root / "client-left" / "clients" / "left" / "tls", tmp_path / "left2" / "clients" / "left" / "tls")
        stray = connect(cluster, tmp_path, "left", None, "--data-dir", str(tmp_path / "left2"), port=other.port)
        refusal(cluster, Case(stray, ("could not prove that it belongs to this cluster", "token create"), NOT_AUTHORISED, True))
    assert "expired" in cluster.cli("token", "list").stdout


def test_a_token_is_good_for_one_machine(cluster: RealCluster, tmp_path: Path) -> None:
    token = cluster.cli_json("token", "create", "--role", "client")["token"]
    with cluster.api() as host:
        cluster.clients["guest"] = cluster.spawn("guest.log", *connect(cluster, tmp_path, "guest", token))
        cluster.wait_for(host, lambda: any(client["name"] == "guest" for client in host.clients()))
        again = Case(connect(cluster, tmp_path, "second", token), ("was used already", "token create"), NOT_AUTHORISED, True)
        with nothing_changes(host):
            refusal(cluster, again)
        cluster.kill_client("guest", signal.SIGTERM)
        assert "second" not in {client["name"] for client in host.clients()}


def refuse_other_version(cluster: RealCluster, args: tuple[str, ...]) -> str:
    """The last line of a client of version 99.1.0."""
    program = "import gswarm; gswarm.__version__ = '99.1.0'\nfrom gswarm.cli.main import main; main()"
    command = [sys.executable, "-c", program, *args]
    done = subprocess.run(command, env=cluster.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == REFUSED, done.stderr
    return done.stderr.splitlines()[-1]


# ---- hosts -----------------------------------------------------------------------------------------------------------------


def test_hosts_that_cannot_start(cluster: RealCluster, tmp_path: Path) -> None:
    def start(folder: Path, *options: str) -> tuple[str, ...]:
        free = ("--port", "0", "--http-port", "0", "--pool-port", "0")
        return ("host", "start", "--data-dir", str(folder), *free, *options)

    (tmp_path / "file").write_text("in the way")
    (tmp_path / "config.yaml").write_text("host: {lease_timeout: 3}\n")
    with socket.socket() as taken, cluster.api() as host, nothing_changes(host):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = {
            flag: Case(start(tmp_path / flag, f"--{flag}", port), (f"{port} on 127.0.0.1 is in use", f"with --{flag}"), is_daemon=True)
            for flag in ("port", "http-port", "pool-port")
        }
        cases |= {
            "running": Case(start(cluster.data_dir), ("is in use by pid", "stop that host first"), is_daemon=True),
            "file": Case(start(tmp_path / "file"), ("cannot be written", "it is a file", "choose another"), is_daemon=True),
            "unwritable": Case(start(Path("/proc/nothing")), ("cannot be written", "choose another"), is_daemon=True),
            "config": Case(start(tmp_path / "c", "--config", str(tmp_path / "config.yaml")), ("host.lease_timeout", "lease_timeout_s")),
            "insecure": Case(start(tmp_path / "i", "--insecure", "--bind", "0.0.0.0"), ("--insecure is refused",), is_daemon=True),
            "away": Case(("host", "status", "--data-dir", str(tmp_path / "none")), ("no host runs", "gswarm host start"), NOT_REACHED),
        }
        check_all(cluster, cases)
        # A start that found its port taken has made a data directory: these two are of two clusters now.
        one, other = tmp_path / "port" / "host", tmp_path / "http-port" / "host"
        shutil.rmtree(one / "tls")
        refusal(cluster, Case(start(one.parent), ("no certificate authority", "restore both"), is_daemon=True))
        shutil.copytree(other / "tls", one / "tls")
        refusal(cluster, Case(start(one.parent), ("belongs to cluster", "data directory"), is_daemon=True))
