"""What ``gswarm chaos`` can do to the clients and trainers of this machine, and to nobody else.

A process is found by the lock that it holds in its client's directory, which no other process can hold at that time, and only under this
account. It is signalled through a descriptor of the process itself, so that a number which the kernel has given away again hits nobody.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import assert_never

import psutil

from gswarm.domain.errors import ConflictError, ForbiddenError, GswarmError, NotFoundError, StorageError
from gswarm.runtime.processes import end, gripped, holders, send
from gswarm.wire.tls import ClientTls

SYS_PIDFD_GETFD = 438
"""The same number on every architecture."""
LEAVES_S = 60.0
"""How long a client that was asked to leave may take."""
SUPERVISOR_S = 5.0
"""A client that a supervisor starts again is back within this time; any other is started again here."""


class Deed(StrEnum):
    KILL_TRAINER = "kill-trainer"
    FREEZE_TRAINER = "freeze-trainer"
    KILL_CLIENT = "kill-client"
    STOP_CLIENT = "stop-client"
    FREEZE_CLIENT = "freeze-client"
    DROP_CONNECTIONS = "drop-connections"

    @property
    def about(self) -> str:
        match self:
            case Deed.KILL_TRAINER:
                return "SIGKILL; its client starts another"
            case Deed.FREEZE_TRAINER | Deed.FREEZE_CLIENT:
                return "SIGSTOP, and SIGCONT after --freeze"
            case Deed.KILL_CLIENT:
                return "SIGKILL, and started again as it was"
            case Deed.STOP_CLIENT:
                return "SIGTERM, and started again as it was"
            case Deed.DROP_CONNECTIONS:
                return "its TCP connections are shut down"
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True)
class LocalClient:
    """A client that runs on this machine, under this account."""

    name: str
    directory: Path
    process: psutil.Process
    trainers: tuple[psutil.Process, ...]
    """In the order of its slots."""


@dataclass(frozen=True, slots=True)
class Target:
    deed: Deed
    client: str
    directory: Path
    process: psutil.Process

    def __str__(self) -> str:
        of = "trainer" if self.deed in (Deed.KILL_TRAINER, Deed.FREEZE_TRAINER) else "client"
        return f"{self.deed} {self.client}: {of} process {self.process.pid}"


def local_clients(data_dirs: Iterable[Path], ca_pem: bytes | None) -> list[LocalClient]:
    """The clients that run from these data directories, by name.

    Args:
        ca_pem: of the cluster that is meant; a client that joined another one is left out. ``None`` where it is not known.
    """
    found = []
    for home in dict.fromkeys(path.expanduser().resolve() for path in data_dirs):
        for lock in sorted((home / "clients").glob("*/lock")):
            if ca_pem is None or _is_of_cluster(lock.parent, ca_pem):
                found += _client_of(lock)
    return sorted(found, key=lambda client: client.name)


def _is_of_cluster(directory: Path, ca_pem: bytes) -> bool:
    try:
        return ClientTls.load(directory / "tls").ca_pem == ca_pem
    except NotFoundError:
        return True  # plaintext, which only a host of this machine speaks
    except GswarmError:
        return False


def _client_of(lock: Path) -> list[LocalClient]:
    seats = sorted((lock.parent / "devices").glob("slot-*.lock"))
    held = holders([lock, *seats])
    clients = []
    for process in held[lock]:
        with suppress(psutil.NoSuchProcess):
            children = process.children()
            trainers = tuple(trainer for seat in seats for trainer in held[seat] if trainer in children)
            clients.append(LocalClient(lock.parent.name, lock.parent, process, trainers))
    return clients


def targets(clients: Iterable[LocalClient]) -> list[Target]:
    """Everything that could be done to them, in an order that depends on nothing but their names and slots."""
    found = []
    for client in clients:
        for deed in Deed:
            processes = client.trainers if deed in (Deed.KILL_TRAINER, Deed.FREEZE_TRAINER) else (client.process,)
            found += [Target(deed, client.name, client.directory, process) for process in processes]
    return found


def commit(target: Target, freeze_s: float) -> None:
    """Does it, and undoes what would keep the client away: one that was frozen goes on, one that ended is started again.

    Raises:
        NotFoundError: the process has ended meanwhile.
        ConflictError: it does not end when it is asked to.
        ForbiddenError: this machine does not let connections of other processes be shut down.
        StorageError: its command cannot be started again.
    """
    process = target.process
    match target.deed:
        case Deed.KILL_TRAINER:
            send(process, signal.SIGKILL)
        case Deed.FREEZE_TRAINER | Deed.FREEZE_CLIENT:
            freeze(process, freeze_s)
        case Deed.KILL_CLIENT | Deed.STOP_CLIENT:
            command = Command.of(process)
            try:
                if not end(process, signal.SIGKILL if target.deed is Deed.KILL_CLIENT else signal.SIGTERM, LEAVES_S):
                    raise ConflictError(f"client {target.client} did not leave within {LEAVES_S:.0f} s", "look at its log")
            finally:
                bring_back(target.directory / "lock", command)
        case Deed.DROP_CONNECTIONS:
            drop_connections(process)
        case _:
            assert_never(target.deed)


def freeze(process: psutil.Process, freeze_s: float) -> None:
    """The process stands still for that long, also when this one is interrupted."""
    send(process, signal.SIGSTOP)
    try:
        time.sleep(freeze_s)
    finally:
        with suppress(NotFoundError):
            send(process, signal.SIGCONT)


def drop_connections(process: psutil.Process) -> None:
    """Shuts down its established TCP connections, as a broken network does. Raises NotFoundError and ForbiddenError."""
    libc = ctypes.CDLL(None, use_errno=True)
    with gripped(process) as pidfd, suppress(psutil.NoSuchProcess):
        for connection in process.net_connections("tcp"):
            if connection.status != psutil.CONN_ESTABLISHED:
                continue
            fd = libc.syscall(SYS_PIDFD_GETFD, pidfd, connection.fd, 0)
            if fd < 0:
                reason = os.strerror(ctypes.get_errno())
                raise ForbiddenError(f"connections of process {process.pid} cannot be taken: {reason}", "run as root, or allow ptrace")
            with socket.socket(fileno=fd) as shared, suppress(OSError):
                shared.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class Command:
    """How a process was started."""

    arguments: tuple[str, ...]
    folder: str
    environment: dict[str, str]
    log: str

    @classmethod
    def of(cls, process: psutil.Process) -> Command:
        """Raises NotFoundError."""
        try:
            log = Path(f"/proc/{process.pid}/fd/2").resolve()
            return cls(tuple(process.cmdline()), process.cwd(), process.environ(), str(log) if log.is_file() else os.devnull)
        except (psutil.NoSuchProcess, OSError) as error:
            raise NotFoundError(f"process {process.pid} has ended", "it was not touched") from error

    def start(self) -> None:
        """In a session of its own. Raises StorageError."""
        try:
            with Path(self.log).open("ab") as out:
                subprocess.Popen(
                    self.arguments,
                    cwd=self.folder,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
        except OSError as error:
            raise StorageError(f"{self.arguments[0]} cannot be started again: {error.strerror}", "start the client by hand") from error


def bring_back(lock: Path, command: Command) -> None:
    """Starts a client again, unless it is still there or its supervisor has done so."""
    deadline_s = time.monotonic() + SUPERVISOR_S
    while time.monotonic() < deadline_s:
        if holders([lock])[lock]:
            return
        time.sleep(SUPERVISOR_S / 10)
    command.start()
