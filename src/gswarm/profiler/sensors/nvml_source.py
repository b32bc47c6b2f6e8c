"""GPUs and their MIG devices, by nvitop's device and NVML layers. What a device does not have, or does not answer, is NaN.

Only single NVML calls are made, none of nvitop's snapshots: these ask for a dozen things that nobody wants ten times a second.
"""

from __future__ import annotations

import ctypes
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from gswarm.domain.samples import DeviceInfo
from gswarm.profiler.catalog import BY_NAME
from gswarm.profiler.sensors.process_names import ProcessNames, label
from gswarm.profiler.sensors.readings import NAN, ProcessReading, SumOfRates, plausible
from gswarm.profiler.xid import telling

REFRESH_S = 30.0
"""How often devices are looked for again: GPUs fall off the bus, MIG devices are made and removed."""
XIDS_A_LOOK_MAX = 1_000
"""Of all devices together; a driver that tells without end does not hold up the other sensors."""
PROCESSES_MAX = 256
"""On one device; the ones with the most memory are named."""

_SM, _MEMORY = 1, 2
"""NVML's numbers of these clocks."""
_TX, _RX = 0, 1
"""NVML's numbers of these counters."""
_CORRECTED, _UNCORRECTED, _VOLATILE = 0, 1, 0
_CORE = 0
_MEMORY_TEMPERATURE_FIELD, _NVLINK_TX_FIELD, _NVLINK_RX_FIELD = 82, 138, 139
_XID_EVENT = 8
_KIB = 1024

_Answer = float | list[float]
"""A value, or the counters of links."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Gpu:
    """One device as it was found. ``handle`` is ``None`` while the driver says that it is lost."""

    info: DeviceInfo
    device: Any
    handle: Any
    nvlinks: int = 0
    rates: dict[str, SumOfRates] = field(default_factory=lambda: {"gpu_nvlink_tx": SumOfRates(), "gpu_nvlink_rx": SumOfRates()})
    xid: float = NAN


class NvmlSource:
    """Every GPU that the driver shows, whatever CUDA_VISIBLE_DEVICES says: the machine is measured, not the slots.

    ``read`` may be called by several threads at the same time, as long as their metrics differ.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._nvml: Any = None
        self._gpus: tuple[_Gpu, ...] = ()
        self._events: Any = None
        self._refreshed_s: float | None = None
        self._names = ProcessNames()
        self._sensors: tuple[tuple[tuple[str, ...], Callable[[_Gpu], tuple[_Answer, ...]]], ...] = (
            (("gpu_utilization", "gpu_memory_utilization"), self._utilization),
            (("gpu_memory_used",), lambda gpu: (self._attribute(gpu, "nvmlDeviceGetMemoryInfo", "used"),)),
            (("gpu_memory_total",), lambda gpu: (self._attribute(gpu, "nvmlDeviceGetMemoryInfo", "total"),)),
            (("gpu_power",), lambda gpu: (self._number(gpu, "nvmlDeviceGetPowerUsage") / 1e3,)),
            (("gpu_power_limit",), lambda gpu: (self._number(gpu, "nvmlDeviceGetEnforcedPowerLimit") / 1e3,)),
            (("gpu_energy",), lambda gpu: (self._number(gpu, "nvmlDeviceGetTotalEnergyConsumption") / 1e3,)),
            (("gpu_temperature",), lambda gpu: (self._number(gpu, "nvmlDeviceGetTemperature", _CORE),)),
            (("gpu_sm_clock",), lambda gpu: (self._number(gpu, "nvmlDeviceGetClockInfo", _SM) * 1e6,)),
            (("gpu_memory_clock",), lambda gpu: (self._number(gpu, "nvmlDeviceGetClockInfo", _MEMORY) * 1e6,)),
            (("gpu_fan",), lambda gpu: (self._number(gpu, "nvmlDeviceGetFanSpeed") / 100,)),
            (("gpu_throttle_reasons",), lambda gpu: (self._number(gpu, "nvmlDeviceGetCurrentClocksThrottleReasons"),)),
            (("gpu_ecc_corrected",), lambda gpu: (self._number(gpu, "nvmlDeviceGetTotalEccErrors", _CORRECTED, _VOLATILE),)),
            (("gpu_ecc_uncorrected",), lambda gpu: (self._number(gpu, "nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _VOLATILE),)),
            (("gpu_xid",), lambda gpu: (gpu.xid,)),
            (("gpu_memory_temperature", "gpu_nvlink_tx", "gpu_nvlink_rx"), self._fields),
            (("gpu_pcie_tx",), lambda gpu: (self._number(gpu, "nvmlDeviceGetPcieThroughput", _TX) * _KIB,)),
            (("gpu_pcie_rx",), lambda gpu: (self._number(gpu, "nvmlDeviceGetPcieThroughput", _RX) * _KIB,)),
        )

    def devices(self) -> tuple[DeviceInfo, ...]:
        return tuple(gpu.info for gpu in self._gpus)

    def refresh(self) -> None:
        """Looks for devices if that was long ago, and for XID errors; called by the thread of the slow sensors."""
        now_s = self._monotonic_s()
        if self._refreshed_s is None or now_s - self._refreshed_s >= REFRESH_S:
            self._refreshed_s = now_s
            self._gpus = tuple(self._look())
            self._watch_xid()
        self._hear_xid()

    def read(self, due: frozenset[str]) -> list[tuple[str, dict[str, float]]]:
        wanted = [(names, sensor) for names, sensor in self._sensors if not due.isdisjoint(names)]
        readings = []
        for gpu in self._gpus if wanted else ():
            values: dict[str, float] = {}
            for names, sensor in wanted:
                answers = (
                    sensor(gpu) if gpu.handle is not None else tuple([NAN] * gpu.nvlinks if name in gpu.rates else NAN for name in names)
                )
                now_s = self._monotonic_s()
                for name, answer in zip(names, answers, strict=True):
                    if name in due:
                        value = gpu.rates[name].per_second(answer, now_s) if isinstance(answer, list) else answer
                        values[name] = plausible(BY_NAME[name].unit, value)
            readings.append((gpu.info.device, values))
        return readings

    def processes(self) -> list[ProcessReading]:
        """What runs on the devices now. Of a GPU that is cut into MIG devices, each is on its own."""
        parents = {gpu.info.parent for gpu in self._gpus}
        found = []
        for gpu in self._gpus:
            if gpu.handle is not None and gpu.info.device not in parents:
                found += self._processes_of(gpu)
        self._names.forget_others({process.pid for process in found})
        return found

    # ---- discovery -------------------------------------------------------------------------------------------------

    def _look(self) -> Iterable[_Gpu]:
        if self._nvml is None:
            self._nvml = load_nvml()
        if self._nvml is None:
            return
        from nvitop.api.device import MigDevice, PhysicalDevice

        known = {gpu.info.device: gpu for gpu in self._gpus}
        for index in range(_count(self._query("nvmlDeviceGetCount"))):
            try:
                gpu = _kept(known, self._describe(PhysicalDevice(index), f"gpu:{index}", "gpu", ""))
            except self._nvml.NVMLError as error:
                logger.debug("GPU %d cannot be opened: %s", index, error)
                continue
            yield gpu
            if gpu.handle is None or not gpu.device.is_mig_mode_enabled():
                continue
            for number in range(_count(gpu.device.max_mig_device_count())):
                try:
                    mig = MigDevice((index, number))
                except self._nvml.NVMLError:  # their numbers have holes
                    continue
                yield _kept(known, self._describe(mig, f"gpu:{index}/mig:{number}", "mig", gpu.info.device))

    def _describe(self, device: Any, name: str, kind: str, parent: str) -> _Gpu:
        # Not nvitop's: where a device has no memory of its own, that is the machine's.
        total = getattr(self._query("nvmlDeviceGetMemoryInfo", device.handle), "total", None) if device.handle is not None else None
        info = DeviceInfo(
            device=name,
            kind=kind,
            name=label(str(device.name())),
            uuid=label(str(device.uuid())),
            memory_total_bytes=total if isinstance(total, int) else None,
            parent=parent,
        )
        links = device.nvlink_link_count() if kind == "gpu" else 0
        return _Gpu(info, device, device.handle, _count(links))

    def _watch_xid(self) -> None:
        """Registers for them; from then on a device without one says 0. A driver that cannot leaves NaN."""
        for gpu in self._gpus:
            if gpu.handle is None or gpu.info.kind != "gpu" or not math.isnan(gpu.xid):
                continue
            try:
                if self._events is None:
                    self._events = self._nvml.nvmlQuery("nvmlEventSetCreate", ignore_errors=False)
                self._nvml.nvmlQuery("nvmlDeviceRegisterEvents", gpu.handle, _XID_EVENT, self._events, ignore_errors=False)
                gpu.xid = 0.0
            except self._nvml.NVMLError as error:
                logger.debug("no XID errors of %s: %s", gpu.info.device, error)

    def _hear_xid(self) -> None:
        heard: dict[str, list[int]] = {}
        for _ in range(XIDS_A_LOOK_MAX if self._events is not None else 0):
            event = self._query("nvmlEventSetWait_v2", self._events, 0)
            if not hasattr(event, "eventData"):
                break
            index = self._query("nvmlDeviceGetIndex", event.device)
            heard.setdefault(f"gpu:{index}", []).append(int(event.eventData))
        for gpu in self._gpus:
            if gpu.info.device in heard:
                gpu.xid = float(telling(heard[gpu.info.device]))

    # ---- sensors ---------------------------------------------------------------------------------------------------

    def _query(self, function: str, *arguments: Any) -> Any:
        """The answer, or ``None`` instead of an error. nvitop's own query counts and locks around each call, which costs as much again."""
        try:
            return getattr(self._nvml, function)(*arguments)
        except (self._nvml.NVMLError, AttributeError, UnicodeDecodeError):
            return None

    def _number(self, gpu: _Gpu, function: str, *arguments: Any) -> float:
        return _float(self._query(function, gpu.handle, *arguments))

    def _attribute(self, gpu: _Gpu, function: str, name: str) -> float:
        return _float(getattr(self._query(function, gpu.handle), name, None))

    def _utilization(self, gpu: _Gpu) -> tuple[float, float]:
        rates = self._query("nvmlDeviceGetUtilizationRates", gpu.handle)
        return _float(getattr(rates, "gpu", None)) / 100, _float(getattr(rates, "memory", None)) / 100

    def _fields(self, gpu: _Gpu) -> tuple[float, list[float], list[float]]:
        links = range(gpu.nvlinks)
        asked = [_MEMORY_TEMPERATURE_FIELD, *((_NVLINK_TX_FIELD, link) for link in links), *((_NVLINK_RX_FIELD, link) for link in links)]
        try:
            memory, *links_kib = [_float(value) for value, _at_us in self._nvml.nvmlQueryFieldValues(gpu.handle, asked)]
        except self._nvml.NVMLError:
            memory, *links_kib = [NAN] * len(asked)
        counts = [count * _KIB for count in links_kib]
        return memory, counts[: gpu.nvlinks], counts[gpu.nvlinks :]

    def _processes_of(self, gpu: _Gpu) -> list[ProcessReading]:
        memory: dict[int, int | None] = {}
        for function in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
            listed = self._query(function, gpu.handle)
            for process in listed if isinstance(listed, list | tuple) else ():
                memory[process.pid] = process.usedGpuMemory if isinstance(process.usedGpuMemory, int) else None
        if not memory:
            return []
        shares = self._sm_shares(gpu)
        readings = []
        for pid, used in sorted(memory.items(), key=lambda item: -(item[1] or 0))[:PROCESSES_MAX]:
            account, command, lineage = self._names.of(pid)
            share = shares.get(pid, 0.0) if shares is not None else None
            readings.append(ProcessReading(gpu.info.device, pid, account, command, lineage, used, share))
        return readings

    def _sm_shares(self, gpu: _Gpu) -> dict[int, float] | None:
        """By process, of the last second; ``None`` where the device cannot say."""
        since_us = time.time_ns() // 1000 - 1_000_000
        try:
            samples = self._nvml.nvmlQuery("nvmlDeviceGetProcessUtilization", gpu.handle, since_us, ignore_errors=False)
        except self._nvml.NVMLError_NotFound:
            return {}
        except self._nvml.NVMLError:
            return None
        newest = sorted(samples, key=lambda sample: int(sample.timeStamp))
        shares = {sample.pid: plausible("ratio", sample.smUtil / 100) for sample in newest}
        return {pid: share for pid, share in shares.items() if not math.isnan(share)}


def load_nvml() -> Any:
    """nvitop's NVML layer, or ``None`` where there is no driver: asked for first, as nvitop prints a page of advice then."""
    for name in ("nvitop", "nvitop.api.libnvml"):
        quiet = logging.getLogger(name)
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
        from nvitop.api import libnvml

        libnvml.nvmlInit()
    except Exception as error:  # NVML raises many types of its own where the driver is broken
        logger.debug("no GPU is visible on this machine: %s", error)
        return None
    return libnvml


def _kept(known: dict[str, _Gpu], found: _Gpu) -> _Gpu:
    """A lost device is still the one that it was; of one that is there, counters go on."""
    before = known.get(found.info.device)
    if before is None:
        return found
    if found.handle is None:
        return replace(before, handle=None)
    if before.info.uuid == found.info.uuid:
        found.rates, found.xid = before.rates, before.xid
    return found


def _float(answer: Any) -> float:
    return float(answer) if isinstance(answer, int | float) else NAN


def _count(answer: Any) -> int:
    return answer if isinstance(answer, int) and 0 <= answer <= 1024 else 0
