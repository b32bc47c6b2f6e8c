"""The machine's own sensors: processors, memory, disks and network, by psutil."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from gswarm.domain.samples import MACHINE, DeviceInfo
from gswarm.profiler.catalog import BY_NAME
from gswarm.profiler.sensors.process_names import label
from gswarm.profiler.sensors.readings import NAN, Rate, plausible

LOOPBACK = "lo"


class MachineSource:
    """Reads what belongs to the whole machine.

    Args:
        folder: the disk under it is the one whose room is measured.
        system: the kernel's folder of devices.
    """

    def __init__(self, folder: Path, monotonic_s: Callable[[], float] = time.monotonic, system: Path = Path("/sys")) -> None:
        self._folder = folder
        self._disks, self._links = system / "block", system / "class/net"
        self._monotonic_s = monotonic_s
        self._rates = {name: Rate() for name in ("disk_read", "disk_write", "network_rx", "network_tx")}
        self._sensors: tuple[tuple[tuple[str, ...], Callable[[], tuple[float, ...]]], ...] = (
            (("cpu_utilization",), self._cpu),
            (("load_1m", "load_5m", "load_15m"), os.getloadavg),
            (("memory_used", "memory_total"), _memory),
            (("swap_used",), lambda: (float(psutil.swap_memory().used),)),
            (("disk_read", "disk_write"), self._disk_bytes),
            (("disk_free", "disk_total"), self._disk_room),
            (("network_rx", "network_tx"), self._network_bytes),
        )
        self._has_looked_at_cpu = False
        self._info = DeviceInfo(MACHINE, "machine", _processor(), memory_total_bytes=psutil.virtual_memory().total)

    def devices(self) -> tuple[DeviceInfo, ...]:
        return (self._info,)

    def read(self, due: frozenset[str]) -> list[tuple[str, dict[str, float]]]:
        values: dict[str, float] = {}
        for names, sensor in self._sensors:
            if due.isdisjoint(names):
                continue
            try:
                answers = sensor()
            except (OSError, psutil.Error, RuntimeError, AttributeError, ValueError):  # containers hide some of it
                answers = (NAN,) * len(names)
            now_s = self._monotonic_s()
            for name, answer in zip(names, answers, strict=True):
                if name in due:
                    value = self._rates[name].per_second(answer, now_s) if name in self._rates else answer
                    values[name] = plausible(BY_NAME[name].unit, value)
        return [(MACHINE, values)] if values else []

    def _cpu(self) -> tuple[float]:
        """Since the last look by this thread; the first is about nothing."""
        percent, is_first = psutil.cpu_percent(None), not self._has_looked_at_cpu
        self._has_looked_at_cpu = True
        return (NAN if is_first else percent / 100,)

    def _disk_room(self) -> tuple[float, float]:
        room = psutil.disk_usage(str(self._folder))
        return float(room.free), float(room.total)

    def _disk_bytes(self) -> tuple[float, float]:
        """Of the disks themselves: volumes, RAID and loop devices that lie on them would count the same bytes again."""
        own = _hardware(self._disks)
        disks = [disk for name, disk in psutil.disk_io_counters(perdisk=True).items() if name.replace("/", "!") in own]
        if not disks:  # a container's
            total = psutil.disk_io_counters()
            return (total.read_bytes, total.write_bytes) if total is not None else (NAN, NAN)
        return sum(disk.read_bytes for disk in disks), sum(disk.write_bytes for disk in disks)

    def _network_bytes(self) -> tuple[float, float]:
        """Of the adapters themselves: bonds, VLANs and bridges hand on what these carry."""
        links = {name: link for name, link in psutil.net_io_counters(pernic=True).items() if name != LOOPBACK}
        outward = [links[name] for name in _hardware(self._links) if name in links] or list(links.values())
        return sum(link.bytes_recv for link in outward), sum(link.bytes_sent for link in outward)


def _memory() -> tuple[float, float]:
    memory = psutil.virtual_memory()
    return float(memory.total - memory.available), float(memory.total)


def _hardware(folder: Path) -> set[str]:
    """Which of a kind of devices are hardware, virtual machines' included. Raises OSError."""
    return {path.name for path in folder.iterdir() if (path / "device").exists()} if folder.is_dir() else set()


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return label(next(line.partition(":")[2].strip() for line in lines if line.startswith("model name")))
    except (OSError, StopIteration):
        return "CPU"
