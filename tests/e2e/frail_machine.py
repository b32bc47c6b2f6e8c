"""A cluster of one client whose disks can be filled and whose trainer can be made to hang."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from experiments import experiment
from real_cluster import RealCluster
from steering import until
from tiny import write_dataset, write_model

from gswarm.sdk import Host

STEP_DEADLINE_S = 3.0
DISK_BYTES = 1 << 30
"""A limit, not an allocation; well above what the host keeps free for its journal."""


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A folder that can run out of room: a small file system of its own for root; others cannot mount, and lose the right to write."""

    path: Path

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nothing can be written while the block runs."""
        if os.geteuid() != 0:
            with self._locked():
                yield
            return
        self._shrink()
        try:
            yield
        finally:
            _mount(self.path, "remount", DISK_BYTES)

    def _shrink(self) -> None:
        """To what is used; that may have grown by the time the kernel looks, which then refuses."""
        while True:
            status = os.statvfs(self.path)
            try:
                _mount(self.path, "remount", (status.f_blocks - status.f_bfree) * status.f_frsize)
            except subprocess.CalledProcessError:
                continue
            return

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folders = [self.path, *(folder for folder in self.path.rglob("*") if folder.is_dir())]
        modes = {folder: folder.stat().st_mode for folder in folders}
        try:
            for folder in folders:
                folder.chmod(0o500)
            yield
        finally:
            for folder, mode in modes.items():
                folder.chmod(mode)


def _mount(path: Path, how: str, size_bytes: int) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"{how},size={size_bytes},mode=700", "tmpfs", str(path)]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    path.mkdir(parents=True)
    if os.geteuid() != 0:
        yield SmallDisk(path)
        return
    _mount(path, "rw", DISK_BYTES)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@dataclass(frozen=True, slots=True)
class FrailMachine:
    cluster: RealCluster
    client_disk: SmallDisk
    host_disk: SmallDisk
    document: dict[str, Any]
    """The experiment that was prepared; its only run is stopped."""
    template: str

    def new_run(self, host: Host) -> str:
        """A run of its own for a test; a cold clone needs no preparation."""
        return str(host.clone_run(self.template)["id"])

    def hang_trainer(self, host: Host, run: str) -> list[int]:
        """Stops the trainer process in the middle of the run's steps and returns its id once the client has ended it."""
        while True:
            until(host, run, lambda document: (document["current_step"] or 0) > document["position"])
            processes = [psutil.Process(pid) for pid in self.cluster.trainer_pids("frail")]
            for process in processes:
                process.send_signal(signal.SIGSTOP)
            gone, alive = psutil.wait_procs(processes, timeout=2 * STEP_DEADLINE_S)
            for process in alive:
                # It stood still in an evaluation, which may take longer than a step: once more.
                process.send_signal(signal.SIGCONT)
            if not alive:
                return [process.pid for process in gone]


@contextmanager
def frail_machine(root: Path) -> Iterator[FrailMachine]:
    """A host whose pool, and a client whose data directory, lie on small disks; the client allows a step 3 seconds."""
    write_model(root / "model", "llama")
    write_dataset(root / "chat.jsonl", 1000)
    document = experiment(root, "frail", num_train_epochs=2, gradient_accumulation_steps=4, chunks={"num_chunks": 3})
    config = root / "client.yaml"
    config.write_text(f"client: {{step_deadline_s: {STEP_DEADLINE_S}}}\n")
    with ExitStack() as stack:
        cluster = RealCluster(root / "cluster")
        host_disk = stack.enter_context(small_disk(cluster.data_dir / "pool"))
        client_disk = stack.enter_context(small_disk(cluster.root / "client-frail"))
        stack.callback(cluster.close)
        cluster.start_host()
        cluster.start_client("frail", "--config", str(config))
        cluster.wait_for_clients(1)
        with cluster.api() as host:
            host.submit(document)
            cluster.wait_for(host, lambda: host.experiment("frail")["state"] != "preparing")
            template = host.experiment_runs("frail")[0]["id"]
            host.stop_run(template)
            cluster.wait_for(host, lambda: host.run(template)["state"] == "stopped")
        yield FrailMachine(cluster, client_disk, host_disk, document, template)
