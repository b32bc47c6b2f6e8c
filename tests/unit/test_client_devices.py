"""The seats of a client's processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gswarm.client.devices import JOBS, Devices
from gswarm.domain.errors import ConflictError
from gswarm.runtime.processes import holders

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


async def seated(devices: Devices, seat: str) -> subprocess.Popen[bytes]:
    """A process that sits there and listens to nothing."""
    async with devices.seat(seat) as fd:
        process = subprocess.Popen([sys.executable, "-S", "-c", DEAF], pass_fds=(fd,), stdout=subprocess.PIPE)
    assert process.stdout is not None
    await asyncio.to_thread(process.stdout.readline)
    return process


async def test_an_orphan_is_ended_before_its_seat_is_given_to_another(tmp_path: Path) -> None:
    orphan = await seated(Devices(tmp_path), "slot-0")
    async with Devices(tmp_path).seat("slot-0"):
        assert orphan.poll() is not None
    orphan.stdout.close()


async def test_the_orphans_of_all_seats_end_first(tmp_path: Path) -> None:
    """Slot 1 of the earlier client may be the device of slot 0 of this one."""
    earlier = Devices(tmp_path)
    orphans = [await seated(earlier, "slot-1"), await seated(earlier, JOBS)]
    async with Devices(tmp_path).seat("slot-0"):
        assert all(orphan.poll() is not None for orphan in orphans)
    for orphan in orphans:
        orphan.stdout.close()


async def test_a_client_s_own_processes_sit_side_by_side(tmp_path: Path) -> None:
    devices = Devices(tmp_path)
    first = await seated(devices, "slot-0")
    second = await seated(devices, "slot-1")
    assert (first.poll(), second.poll()) == (None, None)
    for process in (first, second):
        process.kill()
        process.communicate()
    async with devices.seat("slot-0"):
        pass


async def test_an_orphan_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = await seated(Devices(tmp_path), "slot-0")
    monkeypatch.setattr("gswarm.client.devices.end", lambda *_arguments: False)
    with pytest.raises(ConflictError, match=f"process {orphan.pid} of an earlier client still holds slot-0"):
        async with Devices(tmp_path, orphan_ends_s=0).seat("slot-0"):
            raise AssertionError("two sat on one seat")
    os.kill(orphan.pid, signal.SIGKILL)
    orphan.communicate()


async def test_who_merely_reads_the_file_is_left_alone(tmp_path: Path) -> None:
    orphan = await seated(Devices(tmp_path), "slot-0")
    reading = f"f = open({str(tmp_path / 'slot-0.lock')!r}); {DEAF}"
    stranger = subprocess.Popen([sys.executable, "-S", "-c", reading], stdout=subprocess.PIPE)
    assert stranger.stdout is not None
    stranger.stdout.readline()
    async with Devices(tmp_path).seat("slot-0"):
        assert (orphan.poll() is None, stranger.poll() is None) == (False, True)
    stranger.kill()
    stranger.communicate()


async def test_who_holds_a_file_that_was_there_before_is_none_of_ours(tmp_path: Path) -> None:
    process = await seated(Devices(tmp_path), "slot-0")
    lock = tmp_path / "slot-0.lock"
    lock.unlink()
    async with Devices(tmp_path).seat("slot-0"):
        assert holders([lock]) == {lock: []}
        assert process.poll() is None
    process.kill()
    process.communicate()


async def test_processes_of_another_account_are_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = await seated(Devices(tmp_path), "slot-0")
    lock = tmp_path / "slot-0.lock"
    assert [holder.pid for holder in holders([lock])[lock]] == [process.pid]
    account = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: account + 1)
    assert holders([lock]) == {lock: []}
    process.kill()
    process.communicate()
