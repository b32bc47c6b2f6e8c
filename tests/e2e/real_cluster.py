"""Real processes for the end-to-end tests: a host and clients started as a person would, killed by pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from gswarm.sdk import Host, local_host

START_TIMEOUT_S = 60.0
LEASE_TIMEOUT_S = 6.0
Json = dict[str, Any]


@dataclass
class RealCluster:
    """One host and its clients under ``root``; every process is started here and ended by ``close``."""

    root: Path
    host_process: subprocess.Popen[bytes] | None = None
    clients: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    port: int = 0
    http_port: int = 0
    """0 is another one at each start."""
    undo_window_s: float = 600.0

    @property
    def data_dir(self) -> Path:
        return self.root / "host-data"

    def environment(self) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("GSWARM_")}
        return {
            **env,
            "GSWARM_DATA_DIR": str(self.data_dir),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HOME": str(self.root),
        }

    def spawn(self, log_name: str, *args: str) -> subprocess.Popen[bytes]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / log_name).open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "gswarm", *args], stdout=out, stderr=out, env=self.environment(), start_new_session=True
            )

    def start_host(self) -> None:
        """Starts the host (again, on the same port) and returns once it answers."""
        config = self.root / "config.yaml"
        self.root.mkdir(parents=True, exist_ok=True)
        config.write_text(f"host:\n  lease_timeout_s: {LEASE_TIMEOUT_S}\n  undo_window_s: {self.undo_window_s}\n", encoding="utf-8")
        ports = ("--port", str(self.port), "--http-port", str(self.http_port), "--pool-port", "0")
        (self.data_dir / "host" / "endpoint.json").unlink(missing_ok=True)
        self.host_process = self.spawn("host.log", "host", "start", "--data-dir", str(self.data_dir), "--config", str(config), *ports)
        self.wait_until_up()
        with self.api() as host:
            self.port = int(host.grpc_address.rsplit(":", 1)[1])

    def wait_until_up(self) -> None:
        assert self.host_process is not None
        for _ in range(int(START_TIMEOUT_S / 0.1)):
            try:
                with self.api() as host:
                    host.ready()
                    return
            except Exception:
                try:
                    code = self.host_process.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    continue
                raise AssertionError(f"the host ended with {code}:\n{self.log('host.log')}") from None
        raise AssertionError(f"the host did not come up:\n{self.log('host.log')}")

    def api(self) -> Host:
        return local_host(self.data_dir)

    def start_client(self, name: str, *extra: str) -> None:
        data = ("--data-dir", str(self.root / f"client-{name}"))
        known = (self.root / f"client-{name}" / "clients" / name / "tls").exists()
        join = () if known else ("--token", self.join_token())
        args = ("client", "connect", f"127.0.0.1:{self.port}", "--name", name, "--slots", "cpu:1", "--resilient", *join, *data, *extra)
        self.clients[name] = self.spawn(f"client-{name}.log", *args)

    def join_token(self) -> str:
        with self.api() as host:
            return str(host.create_token("client", ttl_s=600, uses=1)["token"])

    def wait_for_clients(self, count: int) -> None:
        with self.api() as host:
            self.wait_for(host, lambda: sum(client["state"] == "ready" for client in host.clients()) >= count)

    def wait_for(self, host: Host, ready: Callable[[], bool], after: int | None = None) -> None:
        """Returns as soon as ``ready()`` holds; looks again at every event of the host."""
        start = int(host.ready()["seq"]) if after is None else after
        if ready():
            return
        for _event in host.events(start):
            if ready():
                return
        raise AssertionError("the host's events ended before the condition held")

    def cli(self, *args: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Runs ``gswarm ARGS`` as a person would."""
        command = [sys.executable, "-m", "gswarm", *args]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=240, check=False)
        if code is not None:
            assert done.returncode == code, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done

    def cli_json(self, *args: str) -> Any:
        return json.loads(self.cli(*args, "-o", "json").stdout)

    def kill_client(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        process = self.clients.pop(name)
        process.send_signal(how)
        process.wait(timeout=60)

    def kill_host(self, how: signal.Signals = signal.SIGKILL) -> None:
        assert self.host_process is not None
        self.host_process.send_signal(how)
        self.host_process.wait(timeout=30)

    def trainer_pids(self, name: str) -> list[int]:
        """Living trainer processes of a client, as the operating system sees them."""
        return [child.pid for child in psutil.Process(self.clients[name].pid).children(recursive=True) if _is_trainer(child)]

    def log(self, name: str, size: int = 3000) -> str:
        path = self.root / name
        return path.read_text(errors="replace")[-size:] if path.exists() else "(no log)"

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{self.log(path.name)}" for path in sorted(self.root.glob("*.log")))

    def close(self) -> None:
        """Clients first: one whose host is gone would wait for it to hand its work back."""
        for processes in (list(self.clients.values()), [self.host_process] if self.host_process else []):
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    process.terminate()
            for process in processes:
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def freeze(pid: int) -> None:
    """Stops a process until it gets SIGCONT, and returns when it has stopped: on a busy machine its other threads run on after the signal
    was sent, until the thread that got it is given a processor."""
    process = psutil.Process(pid)
    process.send_signal(signal.SIGSTOP)
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while process.status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline_s, f"process {pid} does not stop: {process}"
        time.sleep(0.005)


def _is_trainer(process: psutil.Process) -> bool:
    try:
        return "gswarm.training.process" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # or a zombie, which is one of them
        return False
