"""The sampler process of one client: ``python -m gswarm.profiler.sensors.sampler --data-dir D --parent PID``.

It reads sensors and nothing else, says every half second what it read (``sampler_lines``), and ends with its client: when its standard
input ends, and by the kernel when the client is killed. Sensors that are slow or may hang have threads of their own: a driver that does
not answer leaves a gap in its own metrics, and the machine's are measured on.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from gswarm.domain.errors import CorruptDataError
from gswarm.domain.samples import DeviceInfo, SampleColumns
from gswarm.profiler.catalog import INTERVAL_MAX_S, INTERVAL_MIN_S, METRICS, Group
from gswarm.profiler.sensors.machine_source import MachineSource
from gswarm.profiler.sensors.nvml_source import NvmlSource
from gswarm.profiler.sensors.readings import ProcessReading, Source
from gswarm.profiler.sensors.sampler_lines import LINE_BYTES_MAX, SamplerLine, decode_intervals, encode_line
from gswarm.runtime.parent import die_with_parent

FLUSH_S = 0.5
QUICK = frozenset({"gpu_utilization", "gpu_memory_utilization", "gpu_memory_used", "gpu_power", "gpu_sm_clock"})
"""Sensors of a GPU that answer at once and tell most. They wait for no others."""
STUCK_S = 10.0
"""A reader that takes longer is told to the client."""
ROWS_MAX = 20_000
"""Readings that wait for a client which does not take them; more are missed."""
NICENESS = 10

logger = logging.getLogger("gswarm.profiler.sampler")


class Gathered:
    """Readings as columns until they are taken. Safe to use from several threads."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._lock = threading.Lock()
        self._columns: dict[tuple[str, tuple[str, ...]], tuple[array[int], array[float]]] = {}
        self._rows = 0
        self._missed = 0
        self._processes: tuple[int, tuple[ProcessReading, ...]] | None = None

    def add(self, at_us: int, device: str, values: Mapping[str, float]) -> None:
        with self._lock:
            if self._rows >= self._rows_max:
                self._missed += 1
                return
            times, rows = self._columns.setdefault((device, tuple(values)), (array("q"), array("d")))
            times.append(at_us)
            rows.extend(values.values())
            self._rows += 1

    def add_processes(self, at_us: int, processes: list[ProcessReading]) -> None:
        with self._lock:
            self._processes = (at_us, tuple(processes))

    def take(self) -> SamplerLine:
        """Everything since the last time."""
        with self._lock:
            columns, self._columns, self._rows = self._columns, {}, 0
            found, self._processes = self._processes, None
            missed, self._missed = self._missed, 0
        packed = tuple(_packed(device, metrics, times, rows) for (device, metrics), (times, rows) in columns.items())
        at_us, processes = found if found is not None else (0, None)
        return SamplerLine(packed, processes=processes, processes_at_us=at_us, missed=missed)


def _packed(device: str, metrics: tuple[str, ...], times: array[int], rows: array[float]) -> SampleColumns:
    width = len(metrics)
    values = array("d")
    for index in range(width):
        values.extend(rows[index::width])
    if sys.byteorder == "big":
        times.byteswap()
        values.byteswap()
    return SampleColumns(device, "", metrics, times.tobytes(), values.tobytes())


def due_groups(metrics: frozenset[str], intervals_s: Mapping[str, float]) -> dict[float, frozenset[str]]:
    """Which of these metrics are read how often: as asked, within what is possible at all and for that metric."""
    default_s = intervals_s.get("*", INTERVAL_MAX_S)
    groups: dict[float, set[str]] = {}
    for metric in METRICS:
        if metric.name in metrics:
            asked_s = min(max(intervals_s.get(metric.name, default_s), INTERVAL_MIN_S), INTERVAL_MAX_S)
            groups.setdefault(max(asked_s, metric.fastest_s), set()).add(metric.name)
    return {interval_s: frozenset(names) for interval_s, names in sorted(groups.items())}


class Reader:
    """Reads some metrics of a source in a thread of its own, each at its interval.

    Args:
        before, after: done by the thread ahead of and behind each round of readings; ``after`` gets the time of the round.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        metrics: frozenset[str],
        gathered: Gathered,
        before: Callable[[], None] = lambda: None,
        after: Callable[[int], None] = lambda at_us: None,
    ) -> None:
        self.name = name
        self._source = source
        self._metrics = metrics
        self._gathered = gathered
        self._before = before
        self._after = after
        self._changed = threading.Condition()
        self._groups = due_groups(metrics, {})
        self._next_s: dict[float, float] = {}
        self._busy_since_s: float | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def set_intervals(self, intervals_s: Mapping[str, float]) -> None:
        with self._changed:
            self._groups = due_groups(self._metrics, intervals_s)
            self._next_s = {}
            self._changed.notify()

    def stuck_s(self, now_s: float) -> float:
        """How long it has waited for its sensors, once that is longer than ``STUCK_S``; else 0."""
        busy_since_s = self._busy_since_s
        return now_s - busy_since_s if busy_since_s is not None and now_s - busy_since_s > STUCK_S else 0.0

    def _run(self) -> None:
        while True:
            due = self._wait()
            self._busy_since_s = time.monotonic()
            try:
                self._before()
                at_us = time.time_ns() // 1000
                for device, values in self._source.read(frozenset().union(*due)):
                    for names in due:  # apart, as metrics that always come together are kept together
                        if own := {name: value for name, value in values.items() if name in names}:
                            self._gathered.add(at_us, device, own)
                self._after(at_us)
            except Exception:  # whatever a driver's library raises, the next round is tried
                logger.exception("reading %s failed", self.name)
            self._busy_since_s = None

    def _wait(self) -> list[frozenset[str]]:
        """Returns what is due, when something is. Rounds that were missed are left out; what is read once stays in step."""
        with self._changed:
            while True:
                now_s = time.monotonic()
                due = []
                for interval_s, names in self._groups.items():
                    next_s = self._next_s.get(interval_s, now_s)
                    if next_s <= now_s:
                        due.append(names)
                        late = (now_s - next_s) // interval_s
                        self._next_s[interval_s] = next_s + (late + 1) * interval_s
                if due:
                    return due
                self._changed.wait(min(self._next_s.values()) - now_s)


def make_readers(folder: Path, gathered: Gathered) -> tuple[list[Reader], Callable[[], tuple[DeviceInfo, ...]]]:
    """The machine's reader and the GPUs' three, and what says which devices there are."""
    machine, nvml = MachineSource(folder), NvmlSource()
    of_gpus = [metric for metric in METRICS if metric.group is Group.GPU]
    slow = frozenset(metric.name for metric in of_gpus if metric.fastest_s >= INTERVAL_MAX_S)
    others = frozenset(metric.name for metric in of_gpus) - slow - QUICK
    on_machine = frozenset(metric.name for metric in METRICS if metric.group is Group.MACHINE)

    def look_at_processes(at_us: int) -> None:
        if nvml.devices():
            gathered.add_processes(at_us, nvml.processes())

    readers = [
        Reader("machine", machine, on_machine, gathered),
        Reader("gpu", nvml, QUICK, gathered),
        Reader("gpu-others", nvml, others, gathered),
        Reader("gpu-slow", nvml, slow, gathered, before=nvml.refresh, after=look_at_processes),
    ]
    return readers, lambda: (*machine.devices(), *nvml.devices())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gswarm.profiler.sensors.sampler", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="the disk under it is measured")
    parser.add_argument("--parent", type=int, required=True, help="the client's process id")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    die_with_parent()
    if os.getppid() != options.parent:
        return 1  # the client ended before the kernel was asked to tell
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's, which ends us
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    gathered = Gathered()
    readers, devices = make_readers(options.data_dir, gathered)
    threading.Thread(target=_listen, args=(sys.stdin.buffer, readers), name="client", daemon=True).start()
    for reader in readers:
        reader.start()
    _speak(sys.stdout.buffer, gathered, readers, devices)
    return 0


def _speak(out: BinaryIO, gathered: Gathered, readers: list[Reader], devices: Callable[[], tuple[DeviceInfo, ...]]) -> None:
    """A line every ``FLUSH_S``, for as long as somebody reads. One without readings says that the process lives."""
    told: Any = None
    while True:
        time.sleep(FLUSH_S)
        line, known = gathered.take(), devices()
        changed = known if known != told else None
        now_s = time.monotonic()
        stuck = tuple((reader.name, stuck_s) for reader in readers if (stuck_s := reader.stuck_s(now_s)))
        try:
            out.write(
                encode_line(SamplerLine(line.columns, changed, line.processes, line.processes_at_us, stuck=stuck, missed=line.missed))
            )
            out.flush()
        except OSError:
            os._exit(0)
        told = known


def _listen(lines: BinaryIO, readers: list[Reader]) -> None:
    """Takes the client's wishes until it is gone."""
    try:
        while line := lines.readline(LINE_BYTES_MAX):
            intervals_s = decode_intervals(line)
            for reader in readers:
                reader.set_intervals(intervals_s)
    except (CorruptDataError, OSError):
        logger.exception("the client cannot be understood")
    os._exit(0)  # a thread that hangs in the driver would hold up every other way out


if __name__ == "__main__":
    sys.exit(main())
