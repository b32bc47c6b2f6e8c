"""What the tests of faults share: small disks, hosts whose disk breaks, and what a plan is, told from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from real_cluster import RealCluster

from gswarm.domain.errors import GswarmError
from gswarm.sdk import Host

DISK_BYTES = 1 << 30
"""A limit, not an allocation; well above what the host keeps free for its journal."""
FRAIL = Path(__file__).with_name("frail_process.py")


@dataclass(frozen=True, slots=True)
class TinyDisk:
    """A file system of the test's own."""

    path: Path

    def fill(self) -> None:
        """Nothing more fits, not even a byte. The space that is used may grow while the kernel looks, which then refuses."""
        # A size of 0 would mean no limit.
        (self.path / "filler").write_bytes(b"x")
        while True:
            status = os.statvfs(self.path)
            try:
                self.remount(f"size={(status.f_blocks - status.f_bfree) * status.f_frsize}")
            except subprocess.CalledProcessError:
                continue
            return

    def empty(self) -> None:
        self.remount(f"size={DISK_BYTES}")

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nothing can be written while the block runs."""
        self.fill()
        try:
            yield
        finally:
            self.empty()

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True, capture_output=True)


@contextmanager
def tiny_disk(path: Path) -> Iterator[TinyDisk]:
    """A tmpfs at ``path``. These tests break disks, so they need the right to mount one: root, as in CI."""
    path.mkdir(parents=True)
    mount(["-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(path)])
    try:
        yield TinyDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@dataclass(frozen=True, slots=True)
class BreakingDisk:
    """An ext4 of the test's own, which the kernel makes read-only at its first error, as most machines have it set up."""

    path: Path
    image: Path

    def mount(self) -> None:
        mount(["-t", "ext4", "-o", "loop,errors=remount-ro", str(self.image), str(self.path)])

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.path)], check=True)

    def fail(self) -> None:
        """Read-only, whoever has files open there. (``mount -o remount,ro`` is refused as long as somebody has one open for writing.)"""
        with pytest.raises(subprocess.CalledProcessError):
            subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True, capture_output=True)
        device = subprocess.run(["findmnt", "-no", "SOURCE", str(self.path)], check=True, capture_output=True, text=True).stdout.strip()
        (Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error").write_text("a test")

    def repair(self) -> None:
        self.unmount()
        subprocess.run(["e2fsck", "-p", str(self.image)], check=False, capture_output=True)
        self.mount()


@contextmanager
def breaking_disk(path: Path, image: Path) -> Iterator[BreakingDisk]:
    """Mounted at ``path``. Containers that were given no loop devices skip the test, with these words."""
    if not os.access("/dev/loop-control", os.W_OK):
        pytest.skip("no loop device can be made here: a file system of its own is what the kernel would make read-only")
    with image.open("xb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    path.mkdir(parents=True)
    disk = BreakingDisk(path, image)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


@contextmanager
def bound(source: Path, target: Path) -> Iterator[Path]:
    """``source`` under a second path, as a container would see it."""
    target.mkdir(parents=True)
    mount(["--bind", str(source), str(target)])
    try:
        yield target
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)


def mount(arguments: list[str]) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"mount {' '.join(arguments)}: {done.stderr.strip()}\nThe tests of faults mount small disks. Run them as root with CAP_SYS_ADMIN "
        "(in a container: --cap-add SYS_ADMIN --security-opt apparmor=unconfined)."
    )


@dataclass
class FrailCluster(RealCluster):
    """A host whose disk breaks on demand."""

    breaks: str = field(default="eio", kw_only=True)

    def spawn(self, log_name: str, *args: str) -> subprocess.Popen[bytes]:
        if args[:2] != ("host", "start"):
            return super().spawn(log_name, *args)
        with (self.root / log_name).open("ab") as out:
            command = [sys.executable, str(FRAIL), self.breaks, *args]
            return subprocess.Popen(command, stdout=out, stderr=out, env=self.environment(), start_new_session=True)

    def break_disk(self) -> None:
        """Returns once the kernel refuses."""
        assert self.host_process is not None
        self.host_process.send_signal(signal.SIGUSR1)


def submit_until_refused(host: Host, acknowledged: dict[str, str], most: int = 10_000) -> tuple[str, str]:
    """Submits experiments until the host refuses one or is gone; ids and names of those that it acknowledged are added. The name of the
    one that it refused, and what it said."""
    for number in range(most):
        name = f"e{number}"
        try:
            acknowledged[host.submit(document(name))["id"]] = name
        except GswarmError as error:
            return name, str(error)
    raise AssertionError(f"{most} experiments were taken in on a broken disk")


def document(name: str) -> dict[str, Any]:
    """An experiment that nobody will train: there is no client."""
    return {"experiment": name, "base": {"model_name_or_path": "/model", "dataset": "/data.jsonl", "num_train_epochs": 1}}


def ended(cluster: RealCluster) -> tuple[int, str]:
    """Exit code and last line of a host that ends by itself."""
    assert cluster.host_process is not None
    code = cluster.host_process.wait(timeout=30)
    return code, cluster.log("host.log").splitlines()[-1]


def flip_bit(path: Path, bit: int) -> None:
    """Of a file that may be read-only, in place."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))
    path.chmod(mode)


def grant_order(chunk: dict[str, Any]) -> tuple[int, int]:
    return int(chunk["from_step"]), int(chunk["to_step"])


def ledger(host: Host, experiment: str, run: str) -> list[tuple[int, int]]:
    """The steps that counted, as ranges in order."""
    return [grant_order(chunk) for chunk in host.timeline(experiment)["chunks"] if chunk["run"] == run]


def check_ledger(host: Host, experiment: str, run: str) -> None:
    """Every step counts once: the ranges follow upon each other from the first step to the last."""
    ranges = ledger(host, experiment, run)
    assert [start for start, _ in ranges] == [0, *(end for _, end in ranges[:-1])], ranges
    assert ranges[-1][1] == host.run(run)["total_steps"], ranges


def stop_quietly(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    process.wait(timeout=30)


def endpoint(cluster: RealCluster) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cluster.data_dir / "host" / "endpoint.json").read_text())
    return found
