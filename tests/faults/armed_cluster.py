"""A cluster whose processes can be told to kill themselves at a named moment of a commit, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from real_cluster import RealCluster, freeze

from gswarm.sdk import Host

INJECTED = Path(__file__).with_name("injected")
HOST = "host"
MOMENT_S = 240.0
MEMORY_CGROUPS = next((path for path in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")) if path.is_dir()), Path("/nonexistent"))
IS_FIRST_VERSION = MEMORY_CGROUPS.name == "memory"
MEMORY_LEFT_BYTES = 64 * 1024


def moments() -> tuple[str, ...]:
    """The names that ``injected/sitecustomize.py`` knows; those of trainers, clients and the host begin so."""
    listing = "import sitecustomize, json; print(json.dumps(list(sitecustomize.MOMENTS)))"
    done = subprocess.run([sys.executable, "-c", listing], env={"PYTHONPATH": str(INJECTED)}, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = MOMENT_S) -> None:
    """For what is no event of the host: files and processes."""
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, f"within {timeout_s:.0f} s it did not happen that {what}"
        time.sleep(0.02)


@dataclass
class ArmedCluster(RealCluster):
    """Every process gets the folder of its machine: the client's name, or ``host``."""

    trainer_dies: threading.Lock = field(default_factory=threading.Lock)
    """One at a time: three deaths in a row without a commit between them would be the run's own fault."""

    def spawn(self, log_name: str, *args: str) -> subprocess.Popen[bytes]:
        lane = args[args.index("--name") + 1] if "--name" in args else HOST
        (self.root / "faults" / lane).mkdir(parents=True, exist_ok=True)
        faults = {"FAULTS_DIR": str(self.root / "faults"), "FAULTS_LANE": lane, "PYTHONPATH": str(INJECTED)}
        with (self.root / log_name).open("ab") as out:
            return subprocess.Popen(
                self.command(lane, *args), stdout=out, stderr=out, env={**self.environment(), **faults}, start_new_session=True
            )

    def command(self, lane: str, *args: str) -> list[str]:
        return [sys.executable, "-m", "gswarm", *args]

    def slow_down(self, step_s: float) -> None:
        """Every step takes so much longer; a job's steps do not."""
        (self.root / "faults").mkdir(parents=True, exist_ok=True)
        (self.root / "faults" / "slow").write_text(str(step_s))

    def arm(self, lane: str, moment: str) -> None:
        (self.root / "faults" / lane / moment).touch()

    def struck(self, lane: str, moment: str) -> bool:
        return (self.root / "faults" / lane / f"{moment}.struck").exists()

    def wait_until_struck(self, lane: str, moment: str) -> None:
        try:
            wait_until(lambda: self.struck(lane, moment), f"{lane} came to {moment!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def kill_at(self, lane: str, moment: str) -> None:
        """Returns when the process that got to the moment is dead, and what a supervisor starts again is started again."""
        kind = moment.partition(":")[0]
        if kind == "trainer":
            with self.trainer_death(lane):
                self.arm(lane, moment)
                self.wait_until_struck(lane, moment)
            return
        self.arm(lane, moment)
        self.wait_until_struck(lane, moment)
        process = self.host_process if kind == HOST else self.clients[lane]
        assert process is not None
        assert process.wait(timeout=30) == -9, f"{lane} was to be killed at {moment!r}"
        if kind == HOST:
            self.start_host()
        else:
            self.start_client(lane)

    @contextmanager
    def trainer_death(self, lane: str) -> Iterator[None]:
        """Inside, the trainer of a client dies. Returns when the host was told, or had given up the client, and every run has gone on."""
        with self.trainer_dies:
            known = len(self.failures_of(lane)) + self.losses_of(lane)
            yield
            wait_until(lambda: len(self.failures_of(lane)) + self.losses_of(lane) > known, f"{lane} tells of its trainer's death")
            counted = {event["run"]: self.steps(event["run"]) for event in self.events("ChunkCommitted")}
            wait_until(
                lambda: all(self.steps(run) != steps for run, steps in counted.items()), f"{list(counted)} go on after a trainer's death"
            )

    def orphan_trainer(self, lane: str) -> int:
        """Kills the client with SIGKILL while its trainer stands still and is not told of it, like one that waits for its GPU's driver.
        The trainer's process id."""
        wait_until(lambda: bool(self.trainer_pids(lane)), f"{lane} trains")
        [pid] = self.trainer_pids(lane)
        os.kill(pid, signal.SIGUSR2)
        wait_until((self.root / "faults" / lane / f"{pid}.deaf").exists, f"the trainer of {lane} is not told of its client's end any more")
        freeze(pid)
        self.kill_client(lane)
        return pid

    def let_pass(self, seconds: float) -> None:
        """Time in which nothing is awaited: what is to be seen is that nothing happens."""
        time.sleep(seconds)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The journal's events of a kind, in its own words and order."""
        with closing(sqlite3.connect(f"file:{self.data_dir}/host/journal.db?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT event FROM entries ORDER BY seq").fetchall()
        found = [json.loads(text) for (text,) in rows]
        return [event["data"] for event in found if event["type"] == kind]

    def steps(self, run: str) -> list[int]:
        """Where its chunks that counted ended."""
        return [event["checkpoint"]["step"] for event in self.events("ChunkCommitted") if event["run"] == run]

    def commits_of(self, client: str) -> list[int]:
        """Where the chunks that counted there ended."""
        return [event["checkpoint"]["step"] for event in self.events("ChunkCommitted") if event["client"] == client]

    def losses_of(self, client: str) -> int:
        """How often the host gave it up."""
        return [event["client"] for event in self.events("ClientLost")].count(client)

    def failures_of(self, client: str) -> list[str]:
        """The runs that failed there, each as often as it did."""
        return [event["run"] for event in self.events("ChunkFailed") if event["client"] == client]


def in_lanes(work: dict[str, list[str]], act: Callable[[str, str], None]) -> None:
    """Every lane's items one after another, the lanes side by side."""

    def go(lane: str) -> None:
        for item in work[lane]:
            act(lane, item)

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(go, lane) for lane in work]:
            done.result()


@contextmanager
def out_of_memory(pid: int) -> Iterator[None]:
    """The process gets no more memory, and inside the kernel kills it when it asks for some: that is counted. A machine that lets nobody
    make a memory cgroup is named in a warning, and the process is killed as it would be."""
    if not can_limit_memory():
        warnings.warn(f"no memory cgroup can be made below {MEMORY_CGROUPS}: SIGKILL stands for the kernel's", stacklevel=3)
        os.kill(pid, signal.SIGKILL)
        yield
        return
    group = MEMORY_CGROUPS / f"gsf-{pid}"
    limit, kills = ("memory.limit_in_bytes", "memory.oom_control") if IS_FIRST_VERSION else ("memory.max", "memory.events")
    group.mkdir()
    try:
        with (group / limit).open("r+") as file:
            file.write(str(MEMORY_LEFT_BYTES))
        (group / "cgroup.procs").write_text(str(pid))
        yield
        counted = dict(line.split() for line in (group / kills).read_text().splitlines())
        assert int(counted["oom_kill"]) > 0, f"it was not the kernel that ended {pid}: {counted}"
    finally:
        with suppress(OSError):
            group.rmdir()


def can_limit_memory() -> bool:
    """Root can where the hierarchy is writable, and given to groups below its root (the second version of cgroups)."""
    if os.geteuid() != 0 or not os.access(MEMORY_CGROUPS, os.W_OK):
        return False
    return IS_FIRST_VERSION or "memory" in (MEMORY_CGROUPS / "cgroup.subtree_control").read_text().split()


def check_stopped(cluster: ArmedCluster, host: Host, experiment: str) -> None:
    """Stops the experiment. Every step of each run counted once, up to where it stands; the timeline says the same."""
    host.stop_experiment(experiment)
    cluster.wait_for(host, lambda: host.experiment(experiment)["state"] == "idle")
    for run in host.experiment_runs(experiment):
        assert run["state"] == "stopped", run
        steps = cluster.steps(run["id"])
        assert steps == sorted(set(steps)), f"a range of {run['id']} counted twice: {steps}"
        assert steps[-1] == run["position"] > 0
        assert [chunk["to_step"] for chunk in host.timeline(experiment)["chunks"] if chunk["run"] == run["id"]] == steps


def check_identical(host: Host, runs: list[str]) -> None:
    """Their weights are those of uninterrupted training by plain TRL."""
    for job in [host.verify_run(run)["id"] for run in runs]:
        assert host.wait_for_job(job)["result"]["identical"] is True
