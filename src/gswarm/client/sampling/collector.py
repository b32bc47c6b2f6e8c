"""Gathers what the sampler process, the trainer processes and the client itself know into columns. Reads no clock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gswarm.client.sampling import attribution
from gswarm.client.sampling.columns import CELL_BYTES, column
from gswarm.client.sampling.slot_times import SlotMeter
from gswarm.domain.plan import SlotSpec
from gswarm.domain.samples import MACHINE, DeviceInfo, DeviceProcess, SampleColumns
from gswarm.profiler.peaks import peak_flops
from gswarm.profiler.sensors.readings import ProcessReading
from gswarm.profiler.sensors.sampler_lines import SamplerLine
from gswarm.training import protocol

PROCESS_METRICS = ("process_memory_used", "process_sm_utilization")
PROGRESS_METRICS = ("step_time", "tokens_rate", "samples_rate", "mfu", "data_wait")
SHARE_METRICS = ("train_share", "swap_share", "idle_share")
COLUMNS_MAX = 4096
"""Sets of columns that wait to be taken; more come only when nobody takes them, and are lost."""
MEMORY_STEP_BYTES, SM_STEP = 64 * 1024 * 1024, 0.1
"""A process that changes by less is described as before: its owner's share is a series of its own."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gathering:
    """What came together since the last time."""

    columns: tuple[SampleColumns, ...]
    devices: tuple[DeviceInfo, ...]
    """New or changed."""


class Collector:
    """Of one client.

    Args:
        slots: what it offers.
        slot_devices: the device of each, as the sampler names it.
        ours: owner of each process that the client has started.
        clock_s: seconds since the epoch.
    """

    def __init__(
        self, slots: Sequence[SlotSpec], slot_devices: Sequence[str], ours: Callable[[], Mapping[int, str]], clock_s: Callable[[], float]
    ) -> None:
        self._ours = ours
        self._clock_s = clock_s
        self.meters = [SlotMeter(clock_s(), peak_flops(slot.device_name)) for slot in slots]
        self._slots = tuple(
            DeviceInfo(f"slot:{index}", "slot", slot.device_name, memory_total_bytes=slot.memory_bytes, parent=device)
            for index, (slot, device) in enumerate(zip(slots, slot_devices, strict=True))
        )
        self._columns: list[SampleColumns] = []
        self._found: tuple[DeviceInfo, ...] = ()
        self._processes: tuple[ProcessReading, ...] = ()
        self._told: dict[str, DeviceInfo] = {}
        self.outsiders: dict[str, str] = {}
        """Devices that outsiders use now, with their accounts."""
        self.lost_rows = 0
        """Measured and not kept, since the start."""
        self._is_losing = False

    # ---- trainer processes -----------------------------------------------------------------------------------------

    def sent(self, slot_index: int, command: protocol.TrainerCommand) -> None:
        self.meters[slot_index].sent(command, self._clock_s())

    def heard(self, slot_index: int, event: protocol.TrainerEvent) -> None:
        self.meters[slot_index].heard(event, self._clock_s())

    def ended(self, slot_index: int) -> None:
        self.meters[slot_index].ended(self._clock_s())

    # ---- the sampler process ---------------------------------------------------------------------------------------

    def line(self, line: SamplerLine) -> None:
        if line.missed:
            logger.warning("%d samples are lost: this client took nothing from its sampler process for a while", line.missed)
            self.lost_rows += line.missed
        self._add(*line.columns)
        if line.devices is not None:
            self._found = line.devices
        if line.processes is not None:
            ours = self._ours()
            self._processes = line.processes
            self.outsiders = attribution.outsiders(line.processes, ours)
            for share in attribution.shares(line.processes, ours):
                row = (line.processes_at_us / 1e6, (share.memory_used, share.sm_utilization))
                self._add(column(share.device, share.owner, PROCESS_METRICS, [row]))

    # ---- for the spool ---------------------------------------------------------------------------------------------

    def add_own(self, values: Mapping[str, float]) -> None:
        """What the client itself knows about its machine."""
        self._add(column(MACHINE, "", tuple(values), [(self._clock_s(), tuple(values.values()))]))

    def tell_all_devices(self) -> None:
        """The next gathering names all of them: somebody new listens."""
        self._told.clear()

    def take(self) -> Gathering:
        """Everything since the last time."""
        now_s = self._clock_s()
        for index, meter in enumerate(self.meters):
            device = f"slot:{index}"
            if shares := meter.shares(now_s):
                self._add(column(device, "", SHARE_METRICS, [(one.end_s, (one.train, one.swap, one.idle)) for one in shares]))
            for one in meter.progress():
                row = (one.at_s, (one.step_time_s, one.tokens_per_s, one.samples_per_s, one.mfu, one.data_wait))
                self._add(column(device, f"run:{one.run}", PROGRESS_METRICS, [row]))
        columns, self._columns = tuple(self._columns), []
        self._is_losing = False
        return Gathering(columns, self._changed_devices())

    def _add(self, *columns: SampleColumns) -> None:
        room = COLUMNS_MAX - len(self._columns)
        self._columns += columns[:room]
        self.lost_rows += sum(len(one.times_us) // CELL_BYTES for one in columns[room:])
        if len(columns) > room and not self._is_losing:
            self._is_losing = True
            logger.warning("samples are being lost: the disk under the spool has taken nothing for a while")

    def _changed_devices(self) -> tuple[DeviceInfo, ...]:
        processes = attribution.describe(self._processes, self._ours())
        changed = []
        for bare in (*self._found, *self._slots):
            info = replace(bare, processes=processes.get(bare.device, ()))
            if _gist(info) != self._told.get(info.device):
                self._told[info.device] = _gist(info)
                changed.append(info)
        return tuple(changed)


def _gist(info: DeviceInfo) -> DeviceInfo:
    """What counts as a change."""
    return replace(info, processes=tuple(_rounded(process) for process in info.processes))


def _rounded(process: DeviceProcess) -> DeviceProcess:
    used, sm = process.memory_used_bytes, process.sm_utilization
    return replace(
        process,
        memory_used_bytes=None if used is None else used // MEMORY_STEP_BYTES,
        sm_utilization=None if sm is None else round(sm / SM_STEP),
    )
