"""Temporary files of trainer processes: as large as an optimizer, and nobody's when the process was killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gswarm.client.devices import Devices
from gswarm.client.trainer_process import Deadlines
from gswarm.client.trainers import Trainers
from gswarm.domain.ids import RunId, SlotId
from gswarm.domain.plan import SlotSpec
from gswarm.training.protocol import DropRun, Ready, TrainerCommand, TrainerEvent

LEAVES_A_FOLDER = """
import os, socket, sys, tempfile
from gswarm.training.protocol import Ready
from gswarm.training.protocol_codec import encode
client = socket.socket(fileno=int(sys.argv[2]))
tempfile.mkdtemp(prefix="gswarm-run-")
client.sendall(encode(Ready(os.getpid(), "cpu")))
client.recv(1)
"""


def started_by(tmp_path: Path, *listener: Broken) -> tuple[asyncio.Queue[TrainerEvent], Trainers]:
    """Trainers of one slot whose process leaves a folder, and what they say."""
    ready: asyncio.Queue[TrainerEvent] = asyncio.Queue()
    trainers = Trainers(
        (SlotSpec(SlotId("a/0"), "cpu", 1, 1 << 30, "CPU"),),
        tmp_path / "logs",
        lambda slot, epoch, event: ready.put_nowait(event),
        lambda *_exit: None,
        Deadlines(),
        Devices(tmp_path / "devices"),
        (sys.executable, "-c", LEAVES_A_FOLDER),
        *listener,
    )
    return ready, trainers


class Broken:
    """A listener that fails at the first word."""

    def __init__(self) -> None:
        self.told = 0

    def heard(self, slot_index: int, event: TrainerEvent) -> None:
        self.told += 1
        raise ZeroDivisionError

    def sent(self, slot_index: int, command: TrainerCommand) -> None:
        raise AssertionError("it was told again")

    def ended(self, slot_index: int) -> None:
        raise AssertionError("it was told again")


async def test_who_listens_cannot_break_what_trains(tmp_path: Path) -> None:
    broken = Broken()
    ready, trainers = started_by(tmp_path, broken)
    for epoch in range(2):
        trainers.start(0, epoch)
        assert isinstance(await ready.get(), Ready)
        trainers.send(0, epoch, DropRun(RunId("r1")))
        trainers.kill(0, epoch)
    await trainers.close()
    assert broken.told == 1


async def test_what_a_killed_process_left_goes_before_the_next_one_starts(tmp_path: Path) -> None:
    ready, trainers = started_by(tmp_path)
    left: list[Path] = []
    for epoch in range(2):
        trainers.start(0, epoch)
        await ready.get()
        [folder] = (tmp_path / "scratch" / "0").iterdir()
        left.append(folder)
        trainers.kill(0, epoch)
    assert left[0] != left[1]
    await trainers.close()
    assert not (tmp_path / "scratch").exists()
