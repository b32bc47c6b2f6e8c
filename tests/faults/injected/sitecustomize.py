"""Kills a process at a named moment of a commit. Python imports this at its start wherever this folder is on PYTHONPATH.

The product knows nothing of it: functions are wrapped as their modules are imported. A test arms a moment with a file
``FAULTS_DIR/LANE/NAME`` (``FAULTS_LANE`` names the machine that a process plays); the first process of that machine that gets there renames
the file to ``NAME.struck`` and kills itself with SIGKILL. While there is a file ``FAULTS_DIR/slow``, a step takes as many seconds more as
it says: so that work lasts as long as its disturbances, whatever the machine. A trainer that gets SIGUSR2 is no more ended by the kernel
when its client ends, and says so by a file ``FAULTS_DIR/LANE/PID.deaf``.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(os.environ.get("FAULTS_DIR", "/nonexistent")) / os.environ.get("FAULTS_LANE", "")
STEPS = "gswarm.training.paused"
PR_SET_PDEATHSIG = 1
Holds = Callable[..., bool]


def strike(name: str) -> None:
    """Ends the process here if this moment is armed."""
    try:
        (FOLDER / name).rename(FOLDER / f"{name}.struck")
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def dawdle() -> None:
    try:
        time.sleep(float((FOLDER.parent / "slow").read_text()))
    except OSError:
        return


def be_deaf(_number: int, _frame: object) -> None:
    """In the main thread, which asked to be told."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0)
    (FOLDER / f"{os.getpid()}.deaf").touch()


def slowed(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        dawdle()
        return function(*arguments, **named)

    return called


def always(*_arguments: Any, **_named: Any) -> bool:
    return True


def says(kind: str, place: int = 1) -> Holds:
    """Whether the argument at ``place`` (0 is ``self``) is of that class."""
    return lambda *arguments, **_named: type(arguments[place]).__name__ == kind


def answers(kind: str) -> Holds:
    """Whether a client hears the host's answer to such a report."""

    def holds(loop: Any, message: Any) -> bool:
        return type(message).__name__ == "Ack" and type(loop.agent.book.outbox.get(message.seq)).__name__ == kind

    return holds


def writes(kind: str) -> Holds:
    return lambda _journal, entries: any(type(entry.event).__name__ == kind for entry in entries)


def is_checkpoint(_store: Any, path: Path, *_arguments: Any, **_named: Any) -> bool:
    return path.suffix == ".safetensors"


MOMENTS: dict[str, tuple[str, str, str, Holds]] = {
    # name: module, function, before or after its call, and only if this holds for its arguments
    "trainer: the range is trained": ("gswarm.training.conductor", "_write_snapshot", "before", always),
    "trainer: half of the snapshot is written": ("gswarm.training.codec", "save_tensors", "after", always),
    "trainer: the snapshot is written": ("gswarm.training.conductor", "_write_snapshot", "after", always),
    "trainer: trained is reported, the next range trains": ("gswarm.training.conductor", "Conductor.__init__", "wrap", always),
    "client: it hears that a range is trained": ("gswarm.client.loop", "ClientLoop.on_trainer_event", "before", says("RangeTrained", 3)),
    "client: the host has heard trained": ("gswarm.client.loop", "ClientLoop.on_message", "before", answers("ChunkTrainedReport")),
    "client: half of the snapshot is ingested": ("gswarm.datapool.disk", "DiskStore.put_file", "after", is_checkpoint),
    "client: the snapshot is ingested": ("gswarm.client.pool", "ClientPool.push", "before", always),
    "client: half of the checkpoint is pushed": ("gswarm.datapool.transfer.client", "PoolClient.push_blob", "after", always),
    "client: the checkpoint is pushed": ("gswarm.client.pool", "ClientPool.push", "after", always),
    "client: the commit is sent": ("gswarm.client.session", "HostSession.send", "after", says("ChunkCommittedReport")),
    "client: the commit is acknowledged": ("gswarm.client.loop", "ClientLoop.on_message", "before", answers("ChunkCommittedReport")),
    "client: the commit is done with": ("gswarm.client.loop", "ClientLoop.on_message", "after", answers("ChunkCommittedReport")),
    "host: a blob has come in": ("gswarm.datapool.disk", "DiskIngest.commit", "before", always),
    "host: the commit has come in": ("gswarm.host.reports", "ReportDesk._commit", "before", always),
    "host: the commit is about to be journaled": ("gswarm.host.journal.sqlite", "SqliteJournal.append", "before", writes("ChunkCommitted")),
    "host: the commit is written and not flushed": ("gswarm.host.journal.sqlite", "_Transaction.__exit__", "before", always),
    "host: the commit is journaled": ("gswarm.host.journal.sqlite", "SqliteJournal.append", "after", writes("ChunkCommitted")),
    "host: the commit is acknowledged": ("gswarm.host.reports", "ReportDesk._commit", "after", always),
}


def wrapped(function: Callable[..., Any], name: str, when: str, holds: Holds) -> Callable[..., Any]:
    """``function`` with ``strike(name)`` before or behind it."""
    if when == "wrap":
        return with_last_words(function, name)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*arguments: Any, **named: Any) -> Any:
            held = holds(*arguments, **named)
            if held and when == "before":
                strike(name)
            result = await function(*arguments, **named)
            if held and when == "after":
                strike(name)
            return result

        return awaited

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        held = holds(*arguments, **named)
        if held and when == "before":
            strike(name)
        result = function(*arguments, **named)
        if held and when == "after":
            strike(name)
        return result

    return called


def with_last_words(init: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A conductor whose process ends right behind the message that a range is trained."""

    @functools.wraps(init)
    def called(conductor: Any, workshop: Any, emit: Callable[[Any], None], *rest: Any) -> None:
        def emit_and_end(event: Any) -> None:
            emit(event)
            if type(event).__name__ == "RangeTrained":
                strike(name)

        init(conductor, workshop, emit_and_end, *rest)

    return called


def arm_module(module: ModuleType) -> None:
    for name, (place, path, when, holds) in MOMENTS.items():
        if place == module.__name__:
            *owners, attribute = path.split(".")
            owner: Any = functools.reduce(getattr, owners, module)
            setattr(owner, attribute, wrapped(getattr(owner, attribute), name, when, holds))
    if module.__name__ == STEPS:
        signal.signal(signal.SIGUSR2, be_deaf)
        module._Pauses._report_step = slowed(module._Pauses._report_step)


class Finder(importlib.abc.MetaPathFinder):
    """Arms the modules of ``MOMENTS`` as they are imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in {STEPS, *(place for place, *_ in MOMENTS.values())}:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            raise ImportError(f"{fullname} is not there any more: its moments need another place")
        load = spec.loader.exec_module

        def load_and_arm(module: ModuleType) -> None:
            load(module)
            arm_module(module)

        spec.loader.exec_module = load_and_arm  # type: ignore[method-assign]
        return spec


if "FAULTS_DIR" in os.environ:
    sys.meta_path.insert(0, Finder())
