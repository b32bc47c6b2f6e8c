"""The machine's own sensors: processors, memory, disks and network, by psutil."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from gswarm.domain.samples import MACHINE, DeviceInfo
from gswarm.profiler.catalog import BY_NAME
from gswarm.profiler.process_names import label
from gswarm.profiler.readings import NAN, Rate, plausible

LOOPBACK = "lo"


class MachineSource:
    """Reads what belongs to the whole machine.

    Args:
        folder: the disk under it is the one whose room is measured.
    """

    def __init__(self, folder: Path, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._monotonic_s = monotonic_s
        self._rates = {name: Rate() for name in ("disk_read", "disk_write", "network_rx", "network_tx")}
        self._sensors: tuple[tuple[tuple[str, ...], Callable[[], tuple[float, ...]]], ...] = (
            (("cpu_utilization",), _cpu),
            (("load_1m",), lambda: (os.getloadavg()[0],)),
            (("memory_used", "memory_total"), _memory),
            (("swap_used",), lambda: (float(psutil.swap_memory().used),)),
            (("disk_read", "disk_write"), self._disk_rates),
            (("disk_free", "disk_total"), self._disk_room),
            (("network_rx", "network_tx"), self._network_rates),
        )
        psutil.cpu_percent(None)  # its first answer is about nothing
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
            values.update((name, plausible(BY_NAME[name].unit, value)) for name, value in zip(names, answers, strict=True) if name in due)
        return [(MACHINE, values)] if values else []

    def _disk_rates(self) -> tuple[float, float]:
        counters, now_s = psutil.disk_io_counters(), self._monotonic_s()
        if counters is None:
            return NAN, NAN
        return self._rates["disk_read"].per_second(counters.read_bytes, now_s), self._rates["disk_write"].per_second(
            counters.write_bytes, now_s
        )

    def _disk_room(self) -> tuple[float, float]:
        room = psutil.disk_usage(str(self._folder))
        return float(room.free), float(room.total)

    def _network_rates(self) -> tuple[float, float]:
        links, now_s = psutil.net_io_counters(pernic=True), self._monotonic_s()
        outward = [link for name, link in links.items() if name != LOOPBACK]
        received, sent = sum(link.bytes_recv for link in outward), sum(link.bytes_sent for link in outward)
        return self._rates["network_rx"].per_second(received, now_s), self._rates["network_tx"].per_second(sent, now_s)


def _cpu() -> tuple[float]:
    return (psutil.cpu_percent(None) / 100,)


def _memory() -> tuple[float, float]:
    memory = psutil.virtual_memory()
    return float(memory.total - memory.available), float(memory.total)


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return label(next(line.partition(":")[2].strip() for line in lines if line.startswith("model name")))
    except (OSError, StopIteration):
        return "CPU"
