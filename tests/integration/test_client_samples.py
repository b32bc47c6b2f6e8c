"""A whole client that measures: its sampler process, its spool, and a host that is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from array import array
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from client_rig import Rig, rig

from gswarm.client.sampling.process import SAMPLER_COMMAND, Sampler
from gswarm.client.sampling.station import Station
from gswarm.domain.messages import ChunkCommittedReport, OutsidersSeen
from gswarm.domain.samples import SampleAck, SampleBatch, SampleColumns
from gswarm.profiler.sensors.sampler_lines import SamplerLine
from gswarm.wire.client import Backoff
from nvml_kit import build, make_gpus

WAIT_S = 60.0


def columns_of(batches: list[SampleBatch], device: str, metric: str, owner: str = "") -> list[SampleColumns]:
    found = [columns for batch in batches for columns in batch.columns]
    return [one for one in found if (one.device, one.owner) == (device, owner) and metric in one.metrics]


def values_of(batches: list[SampleBatch], device: str, metric: str, owner: str = "") -> list[float]:
    found: list[float] = []
    for columns in columns_of(batches, device, metric, owner):
        rows, place = len(columns.times_us) // 8, columns.metrics.index(metric)
        found += array("d", columns.values[place * rows * 8 : (place + 1) * rows * 8])
    return found


def measured(r: Rig, device: str, metric: str, owner: str = "") -> list[float]:
    return values_of(r.host.sample_batches, device, metric, owner)


async def test_machine_and_training_are_measured_and_the_host_is_told(tmp_path: Path) -> None:
    async with rig(tmp_path, sampler_command=SAMPLER_COMMAND) as r, r.running():
        await r.host.until(lambda: bool(measured(r, "machine", "memory_total")))
        assert measured(r, "machine", "memory_total")[0] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        devices = {device.device: device for batch in r.host.sample_batches for device in batch.devices}
        assert (devices["machine"].kind, devices["slot:0"].parent) == ("machine", "machine")
        r.host.say(r.grant("r1", 0, 10))
        await r.host.hear(ChunkCommittedReport)
        await r.host.until(lambda: bool(measured(r, "slot:0", "step_time", "run:r1")))
        assert measured(r, "slot:0", "step_time", "run:r1")[0] == pytest.approx(0.001)
        await r.host.until(lambda: any(idle < 1.0 for idle in measured(r, "slot:0", "idle_share")))
        assert r.host.sample_batches[-1].clock_offset_s is not None
    assert [batch.seq for batch in r.host.sample_batches] == list(range(1, len(r.host.sample_batches) + 1))


async def test_slots_on_gpus_of_outsiders_are_told_to_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = make_gpus(build(tmp_path), tmp_path, 2)
    gpus.set(gpu1_processes=f"{os.getppid()}:1000:10")
    for name, value in gpus.environment.items():
        monkeypatch.setenv(name, value)
    machine = "Machine(4, 1 << 33, 'cpu', (Gpu('NVIDIA H200', 1 << 37, 'gpu:0'), Gpu('NVIDIA H200', 1 << 37, 'gpu:1')))"
    monkeypatch.setattr("gswarm.client.daemon.this_machine", lambda: eval(machine, vars(sys.modules["gswarm.client.slots"])))  # noqa: S307
    async with rig(tmp_path, sampler_command=SAMPLER_COMMAND) as r, r.running(slots="gpu", outsider_policy="avoid"):
        (one,) = [told for told in await r.host.hear(OutsidersSeen, 2) if told.slots]
        assert [number for number, _accounts in one.slots] == [1]
        gpus.set(gpu1_processes=None)
        await r.host.until(lambda: r.host.all(OutsidersSeen)[-1].slots == ())


class Lines:
    """Counts the lines of a sampler, and the processes that said them."""

    def __init__(self) -> None:
        self.count = 0
        self.changed = asyncio.Condition()

    def take(self, line: SamplerLine) -> None:
        self.count += 1
        asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, count: int) -> None:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(lambda: self.count >= count), WAIT_S)


SPEAKS = "import sys, time\nwhile True:\n    print('{}', flush=True)\n    time.sleep(0.05)\n"
BAD = {
    "dies": "print('{}', flush=True)",
    "is silent": "import time\nprint('{}', flush=True)\ntime.sleep(60)",
    "babbles": "print('{}', flush=True)\nprint('no json', flush=True)\nimport time\ntime.sleep(60)",
}


@pytest.mark.parametrize("how", BAD)
async def test_a_sampler_process_that_fails_is_followed_by_another(how: str, tmp_path: Path) -> None:
    lines = Lines()
    command = (sys.executable, "-c", BAD[how])
    sampler = Sampler(tmp_path, lines.take, command, silent_s=0.2, backoff=Backoff(initial_s=0.01, max_s=0.02))
    task = asyncio.create_task(sampler.run())
    await lines.until(2)
    assert sampler.starts >= 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_sampler_process_that_stands_still_is_replaced_and_none_is_left(tmp_path: Path) -> None:
    lines = Lines()
    sampler = Sampler(tmp_path, lines.take, (sys.executable, "-c", SPEAKS), silent_s=0.5, backoff=Backoff(initial_s=0.01, max_s=0.02))
    task = asyncio.create_task(sampler.run())
    await lines.until(1)
    first = sampler.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    await lines.until(lines.count + 20)
    second = sampler.pid
    assert second not in (None, first)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert second is not None
    for pid in (first, second):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_hang_is_told_with_how_long_it_lasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gswarm.client.sampling.process.STUCK_PATIENCE_S", 0.0)
    lines = Lines()
    says = 'import time\nprint(\'{"stuck": [["gpu", 71.5], ["gpu-slow", 12]]}\', flush=True)\ntime.sleep(60)'
    sampler = Sampler(tmp_path, lines.take, (sys.executable, "-c", says), backoff=Backoff(initial_s=0.01, max_s=0.02))
    task = asyncio.create_task(sampler.run())
    await lines.until(2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "have not been measured: gpu for 72 s, gpu-slow for 12 s; another sampler process starts in 0 s" in caplog.text


async def test_what_the_sampler_had_no_room_for_is_reported_as_lost(tmp_path: Path) -> None:
    says = "import time\nprint('{\"missed\": 7}', flush=True)\nwhile True:\n    print('{}', flush=True)\n    time.sleep(0.2)\n"
    heard: list[SampleBatch] = []
    is_told = asyncio.Event()

    async def host(batches: AsyncIterator[SampleBatch]) -> AsyncIterator[SampleAck]:
        async for batch in batches:
            heard.append(batch)
            if 7.0 in values_of(heard, "machine", "samples_lost"):
                is_told.set()
            yield SampleAck(batch.seq, 1, 1)

    station = Station(tmp_path, 1 << 20, host, (), (), dict, command=(sys.executable, "-c", says))
    task = asyncio.create_task(station.run())
    await asyncio.wait_for(is_told.wait(), WAIT_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_command_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    third_try = asyncio.Event()

    class Counting(Backoff):
        tries = 0

        def __next__(self) -> float:
            self.tries += 1
            if self.tries == 3:
                third_try.set()
            return super().__next__()

    sampler = Sampler(tmp_path, lambda line: None, (str(tmp_path / "missing"),), backoff=Counting(initial_s=0.001, max_s=0.002))
    task = asyncio.create_task(sampler.run())
    await asyncio.wait_for(third_try.wait(), WAIT_S)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_ends_also_when_it_is_told_to_while_a_line_arrives(tmp_path: Path) -> None:
    """``asyncio.wait_for`` of Python 3.11 forgets a cancellation that comes together with the result."""
    task: asyncio.Task[None]

    class Reader:
        """Its only line comes in the same turn of the loop as the cancellation."""

        async def readline(self) -> bytes:
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(task.cancel)
            return b"{}\n"

    class Process:
        stdout = Reader()

    heard: list[SamplerLine] = []
    sampler = Sampler(tmp_path, heard.append, (sys.executable, "-c", SPEAKS))
    task = asyncio.create_task(sampler._hear(Process(), 0.0))  # type: ignore[arg-type]
    await asyncio.wait((task,), timeout=WAIT_S)
    assert task.cancelled()
