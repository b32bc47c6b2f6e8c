"""``gswarm chaos``: whom it finds, what it does to them, and what it takes for a fault."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from wire_support import client_tls

from gswarm.cli import chaos_deeds
from gswarm.cli.chaos_deeds import Command, Deed, LocalClient, Target, bring_back, commit, drop_connections, freeze, local_clients, targets
from gswarm.cli.chaos_session import Plan, Session
from gswarm.domain.errors import ConflictError, NotFoundError
from gswarm.runtime.locks import FileLock
from gswarm.runtime.processes import send
from gswarm.wire.tls import CertificateAuthority

CLIENT = """
import fcntl, os, signal, subprocess, sys
lock = open(sys.argv[1], "a")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
seat = open(sys.argv[2], "a")
fcntl.flock(seat, fcntl.LOCK_EX)
trainer = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"], pass_fds=(seat.fileno(),))
seat.close()
print(trainer.pid, flush=True)
signal.pause()
"""


def start_client(home: Path, name: str) -> tuple[subprocess.Popen[bytes], int]:
    """A process that holds what a client holds, and its trainer's id."""
    directory = home / "clients" / name
    (directory / "devices").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-S", "-c", CLIENT, str(directory / "lock"), str(directory / "devices" / "slot-0.lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.fixture
def client(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    process, trainer = start_client(tmp_path, "a")
    try:
        yield process, trainer
    finally:
        for pid in (process.pid, trainer):
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def found(home: Path, ca_pem: bytes | None = None) -> list[tuple[str, int, list[int]]]:
    return [(one.name, one.process.pid, [trainer.pid for trainer in one.trainers]) for one in local_clients([home], ca_pem)]


def test_clients_are_found_by_the_locks_that_they_hold(tmp_path: Path, client: tuple[subprocess.Popen[bytes], int]) -> None:
    process, trainer = client
    (tmp_path / "clients" / "dead").mkdir()
    (tmp_path / "clients" / "dead" / "lock").write_text(f"pid {os.getpid()}")
    stranger = subprocess.Popen(
        [sys.executable, "-S", "-c", "import signal; signal.pause()", "-m", "gswarm", "client", "connect", "--name", "a"]
    )
    try:
        assert found(tmp_path) == [("a", process.pid, [trainer])]
        assert found(tmp_path / "elsewhere") == []
    finally:
        stranger.kill()
        stranger.wait()


def test_a_client_of_another_cluster_or_account_is_left_alone(
    tmp_path: Path, client: tuple[subprocess.Popen[bytes], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = (CertificateAuthority.create(name) for name in ("theirs", "ours"))
    client_tls(theirs, "a").save(tmp_path / "clients" / "a" / "tls")
    assert found(tmp_path, ours.ca_pem) == []
    assert len(found(tmp_path, theirs.ca_pem)) == 1
    account = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: account + 1)
    assert found(tmp_path) == []


def test_a_number_that_was_given_away_again_hits_nobody(client: tuple[subprocess.Popen[bytes], int]) -> None:
    process = psutil.Process(client[0].pid)
    process._create_time = process.create_time() - 60
    process._ident = (process.pid, process._create_time)
    with pytest.raises(NotFoundError, match="has ended"):
        send(process, signal.SIGKILL)
    assert client[0].poll() is None


def test_a_frozen_process_goes_on_whatever_happens(client: tuple[subprocess.Popen[bytes], int], monkeypatch: pytest.MonkeyPatch) -> None:
    process = psutil.Process(client[0].pid)

    def interrupted(_seconds: float) -> None:
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        raise KeyboardInterrupt

    monkeypatch.setattr(chaos_deeds.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        freeze(process, 1000)
    assert os.WIFCONTINUED(os.waitpid(process.pid, os.WCONTINUED)[1])


def test_only_that_process_s_connections_are_dropped(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, "-S", "-c", f"import socket; s = socket.create_connection(('127.0.0.1', {port})); s.recv(1)"]
        process = subprocess.Popen(command)
        theirs, _ = server.accept()
        with socket.create_connection(("127.0.0.1", port)) as own:
            ours, _ = server.accept()
            drop_connections(psutil.Process(process.pid))
            assert process.wait(10) == 0
            assert theirs.recv(1) == b""
            own.sendall(b"x")
            assert ours.recv(1) == b"x"
            for one in (theirs, ours):
                one.close()


def test_a_killed_client_is_started_again_as_it_was(
    tmp_path: Path, client: tuple[subprocess.Popen[bytes], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Command] = []
    monkeypatch.setattr(chaos_deeds, "SUPERVISOR_S", 0.0)
    monkeypatch.setattr(Command, "start", lambda command: started.append(command))
    process = client[0]
    commit(Target(Deed.KILL_CLIENT, "a", tmp_path / "clients" / "a", psutil.Process(process.pid)), 1)
    assert process.wait(10) == -signal.SIGKILL
    [command] = started
    assert list(command.arguments) == process.args
    assert (command.folder, command.environment["PATH"]) == (str(Path.cwd()), os.environ["PATH"])


def test_a_client_that_its_supervisor_has_started_is_not_started_twice(
    tmp_path: Path, client: tuple[subprocess.Popen[bytes], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Command, "start", lambda _command: pytest.fail("it was started a second time"))
    bring_back(tmp_path / "clients" / "a" / "lock", Command((), "", {}, ""))


def test_the_order_of_targets_depends_on_names_alone(tmp_path: Path) -> None:
    me = psutil.Process()
    clients = [LocalClient(name, tmp_path, me, (me,) * trainers) for name, trainers in (("a", 2), ("b", 0))]
    drawn = [(target.deed, target.client) for target in targets(clients)]
    assert [deed for deed, name in drawn if name == "b"] == [deed for deed in Deed if "trainer" not in deed]
    assert [deed for deed, name in drawn if name == "a"].count(Deed.KILL_TRAINER) == 2


# ---- a session ----------------------------------------------------------------------------------------------------------


class ScriptedHost:
    """A host whose runs stand where the script says, one line a look."""

    def __init__(self, *positions: dict[str, int], identical: bool = True, connected: bool = True) -> None:
        self._positions = list(positions)
        self._identical = identical
        self._connected = connected

    def runs(self) -> list[dict[str, Any]]:
        now = self._positions.pop(0) if len(self._positions) > 1 else self._positions[0]
        return [{"id": run, "state": "running", "position": position} for run, position in now.items()]

    def client(self, name: str) -> dict[str, Any]:
        return {"name": name, "connected": self._connected}

    def clients(self) -> list[dict[str, Any]]:
        return [self.client("a")]

    def ready(self) -> dict[str, Any]:
        return {"refused_reports": 0}

    def verify_run(self, run: str) -> dict[str, Any]:
        return {"id": f"j-{run}"}

    def wait_for_job(self, job: str) -> dict[str, Any]:
        return {"id": job, "failure": None, "result": {"identical": self._identical}}


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def disturbed(monkeypatch: pytest.MonkeyPatch, host: ScriptedHost, seed: int = 1) -> Session:
    """A session on one client that is only pretended to be hit."""
    me, clock = psutil.Process(), Clock()
    one = LocalClient("a", Path(), me, (me,))
    monkeypatch.setattr("gswarm.cli.chaos_session.local_clients", lambda *_arguments: [one])
    monkeypatch.setattr("gswarm.cli.chaos_session.commit", lambda *_arguments: None)
    plan = Plan(tuple(Deed), 600.0, 30.0, 20.0, seed)
    session = Session(host, [Path()], None, plan, lambda _line: None, lambda: clock.now_s, clock.sleep)  # type: ignore[arg-type]
    session.run()
    return session


def growing(looks: int) -> list[dict[str, int]]:
    return [{"r1": step} for step in range(looks)]


def test_work_that_goes_on_is_no_fault_and_the_seed_draws_the_deeds(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = [disturbed(monkeypatch, ScriptedHost(*growing(100_000)), seed).report for seed in (1, 1, 2)]
    assert [report.faults for report in reports] == [[], [], []]
    kinds = [[deed["deed"] for deed in report.deeds] for report in reports]
    assert len(kinds[0]) > 10
    assert kinds[0] == kinds[1] != kinds[2]


def test_work_that_stands_still_or_goes_back_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    [fault] = disturbed(monkeypatch, ScriptedHost({"r1": 5})).report.faults
    assert "did not go on" in fault
    [fault] = disturbed(monkeypatch, ScriptedHost({"r1": 5}, {"r1": 5}, {"r1": 5}, {"r1": 4})).report.faults
    assert "steps of r1 that counted do not count any more" in fault


def test_ctrl_c_ends_it_with_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    host = ScriptedHost(*growing(100_000))
    looks = 0
    runs = host.runs

    def runs_until_ctrl_c() -> list[dict[str, Any]]:
        nonlocal looks
        looks += 1
        if looks == 40:
            raise KeyboardInterrupt
        return runs()

    monkeypatch.setattr(host, "runs", runs_until_ctrl_c)
    session = disturbed(monkeypatch, host)
    assert 1 <= len(session.report.deeds) < 40
    session.verify()
    assert [row["identical"] for row in session.report.runs] == [True]


def test_weights_that_differ_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    session = disturbed(monkeypatch, ScriptedHost(*growing(100_000), identical=False))
    session.verify()
    assert session.report.document()["ok"] is False
    assert session.report.faults == ["run r1: its weights differ from uninterrupted training"]


def test_without_work_or_clients_nothing_is_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConflictError, match="nothing trains"):
        disturbed(monkeypatch, ScriptedHost({}))
    with pytest.raises(NotFoundError, match="no client of this host runs here"):
        disturbed(monkeypatch, ScriptedHost({"r1": 5}, connected=False))


def test_who_holds_a_lock_in_this_very_process_is_no_target(tmp_path: Path) -> None:
    directory = tmp_path / "clients" / "self"
    directory.mkdir(parents=True)
    lock = FileLock(directory / "lock")
    assert lock.acquire()
    assert found(tmp_path) == []
    lock.release()
