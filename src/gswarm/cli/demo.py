"""``gswarm demo``: a host and two clients on this machine, the quickstart experiment, the leaderboard, nothing left running."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import typer

from gswarm.domain.errors import GswarmError, NotFoundError, UnavailableError

CLIENTS = ("left", "right")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


@dataclass(slots=True)
class DemoCluster:
    """The processes of one demo. Every one is started here and ended here, by pid."""

    data_dir: Path
    host: subprocess.Popen[bytes] | None = None
    clients: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "gswarm", *args]

    def environment(self) -> dict[str, str]:
        """The demo's own data dir, and no context that would lead the commands elsewhere."""
        env = {key: value for key, value in os.environ.items() if key not in ("GSWARM_HOST", "GSWARM_TOKEN")}
        return {**env, "GSWARM_DATA_DIR": str(self.data_dir), "OMP_NUM_THREADS": env.get("OMP_NUM_THREADS", "1")}

    def start(self) -> None:
        """Starts the host, waits until it answers, starts the clients.

        Raises:
            UnavailableError: a process ended or did not come up in time; the message names its log.
        """
        logs = self.data_dir / "logs"
        for folder in (self.data_dir, logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ports = ("--port", "0", "--http-port", "0", "--pool-port", "0")
        self.host = self._spawn(logs / "host.log", "host", "start", "--data-dir", str(self.data_dir), *ports)
        endpoint = self._wait_for_endpoint(logs / "host.log")
        for name in CLIENTS:
            slots = ("--slots", "auto", "--name", name, "--data-dir", str(self.data_dir))
            self.clients.append(self._spawn(logs / f"client-{name}.log", "client", "connect", endpoint, *slots))

    def _spawn(self, log: Path, *args: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(self.command(*args), stdout=out, stderr=out, env=self.environment(), start_new_session=True)

    def _wait_for_endpoint(self, log: Path) -> str:
        """The host's gRPC address, once it accepts REST calls."""
        from gswarm.sdk import local_host

        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self.host is not None and self.host.poll() is not None:
                raise UnavailableError(f"the host ended with exit code {self.host.returncode}", f"see {log}")
            with contextlib.suppress(NotFoundError, UnavailableError), local_host(self.data_dir) as host:
                host.ready()
                return host.grpc_address
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self.host is not None:
                    self.host.wait(timeout=0.2)
        raise UnavailableError(f"the host did not answer within {START_TIMEOUT_S:.0f} s", f"see {log}")

    def stop(self) -> None:
        """Asks every process to end, clients first, and makes sure that it has."""
        for process in (*self.clients, *([self.host] if self.host else [])):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextlib.contextmanager
def _cluster(data_dir: Path, keep: bool) -> Iterator[DemoCluster]:
    cluster = DemoCluster(data_dir)
    done = False
    try:
        cluster.start()
        yield cluster
        done = True
    finally:
        if not (keep and done):
            cluster.stop()


def demo(
    keep: bool = typer.Option(False, "--keep", help="Leave the host and the clients running."),
    file: Path = typer.Option(Path("examples/quickstart.yaml"), "--file", help="The experiment to run."),
    data_dir: Path = typer.Option(Path(".demo"), "--data-dir", help="Where the demo keeps its data; emptied first."),
) -> None:
    """Start a host and two clients here, train the quickstart's six configurations, print the leaderboard."""
    from gswarm.sdk import local_host

    if not file.is_file():
        raise NotFoundError(f"{file} does not exist", "run the demo from a checkout of gswarm, or name an experiment with --file")
    data_dir = data_dir.resolve()
    _refuse_running(data_dir)
    shutil.rmtree(data_dir, ignore_errors=True)
    with _cluster(data_dir, keep) as cluster:
        typer.echo(f"host and two clients are starting; their logs are in {data_dir}/logs")
        with local_host(data_dir) as host:
            typer.echo(f"watch and steer it at {host.url}   (log in with the token in {data_dir}/host/admin.token)")
        submitted = subprocess.run(cluster.command("experiment", "submit", str(file), "--watch"), env=cluster.environment(), check=False)
        if submitted.returncode != 0:
            raise typer.Exit(submitted.returncode)
        with local_host(data_dir) as host:
            best = host.results(host.experiments()[0]["id"])[0]["id"]
            address = host.url
        adapter = data_dir / "best-adapter"
        merged = data_dir / "best-model"
        for form, to in (("adapter", adapter), ("merged", merged)):
            command = cluster.command("run", "export", best, "--format", form, "--to", str(to), "-o", "quiet")
            if subprocess.run(command, env=cluster.environment(), check=False).returncode != 0:
                raise typer.Exit(1)
        _say_what_now(best, adapter, merged, address, data_dir, cluster if keep else None)


def _say_what_now(best: str, adapter: Path, merged: Path, address: str, data_dir: Path, kept: DemoCluster | None) -> None:
    typer.echo(f"\nbest run   {best}")
    typer.echo(f"adapter    {adapter}   (peft: PeftModel.from_pretrained(base, '{adapter}'))")
    typer.echo(f"model      {merged}   (transformers: AutoModelForCausalLM.from_pretrained('{merged}'))")
    typer.echo(f"chat       {sys.executable} examples/chat.py {merged}")
    if kept is None or kept.host is None:
        return
    typer.echo(f"\ndashboard  {address}   (token: {data_dir}/host/admin.token)")
    typer.echo(f"REST API   {address}/docs")
    typer.echo(f"still up   GSWARM_DATA_DIR={data_dir} gswarm run list")
    pids = " ".join(str(process.pid) for process in kept.clients)
    typer.echo(f"to stop    kill {pids} && gswarm host stop --data-dir {data_dir}")


def _refuse_running(data_dir: Path) -> None:
    """A demo that was kept must be stopped first: its files are about to go."""
    from gswarm.sdk import local_host

    with contextlib.suppress(GswarmError), local_host(data_dir) as host:
        host.ready()
        from gswarm.domain.errors import ConflictError

        raise ConflictError(f"a demo is still running in {data_dir}", f"stop it first: gswarm host stop --data-dir {data_dir}")
