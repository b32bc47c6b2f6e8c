"""Other processes of this account on this machine: who holds a lock, and signals that reach the one that was meant and no other."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from gswarm.domain.errors import NotFoundError


def holders(paths: Collection[Path]) -> dict[Path, list[psutil.Process]]:
    """Other processes of this account that hold the lock of one of these files, by its resolved path. Who merely reads it is none."""
    found: dict[Path, list[psutil.Process]] = {path: [] for path in paths}
    for process in psutil.process_iter(["uids"]):
        with suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.info["uids"].real != os.getuid():
                continue
            open_files = {Path(file.path): file.fd for file in process.open_files()}
            for path in open_files.keys() & found.keys():
                if _locks(process.pid, open_files[path], path):
                    found[path].append(process)
    return found


def _locks(pid: int, fd: int, path: Path) -> bool:
    """Whether that descriptor has a lock of this very file, not of one that was there before it."""
    folder = Path("/proc") / str(pid)
    return os.path.samestat((folder / "fd" / str(fd)).stat(), path.stat()) and "FLOCK" in (folder / "fdinfo" / str(fd)).read_text()


@contextmanager
def gripped(process: psutil.Process) -> Iterator[int]:
    """A descriptor of that very process: what is done through it reaches no other, whoever gets the number next.

    Raises:
        NotFoundError: it has ended.
    """
    gone = NotFoundError(f"process {process.pid} has ended", "it was not touched")
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        raise gone from None
    try:
        # The descriptor is of whoever has the number now; whether that is the one which was found is looked at behind it.
        if not process.is_running():
            raise gone
        yield fd
    finally:
        os.close(fd)


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Signals it. Raises NotFoundError."""
    with gripped(process) as fd:
        _send(fd, number)


def end(process: psutil.Process, number: signal.Signals, timeout_s: float) -> bool:
    """Signals it and waits for its end, also where its parent does not look after it; whether it ended. Raises NotFoundError."""
    with gripped(process) as fd:
        _send(fd, number)
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        return bool(waiting.poll(timeout_s * 1000))


def _send(fd: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it ended this moment
        signal.pidfd_send_signal(fd, number)
