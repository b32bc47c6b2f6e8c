"""Which slots this machine offers. GPUs are found through NVML (nvitop); torch is not imported."""

from __future__ import annotations

import ctypes
import logging
import os
from dataclasses import dataclass

import psutil

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName, SlotId
from gswarm.domain.plan import SlotSpec

logger = logging.getLogger(__name__)

SLOTS_LIMIT = 64
_HINT = "write auto, cpu:N for N slots on the CPU, or gpu:0,1 for these GPUs"


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What slots are cut from."""

    cores: int
    memory_bytes: int
    cpu_name: str
    gpus: tuple[Gpu, ...]
    """In the order in which CUDA counts them for this process."""


def this_machine() -> Machine:
    return Machine(len(os.sched_getaffinity(0)), psutil.virtual_memory().total, _cpu_name(), _gpus())


def make_slots(wish: str, client: ClientName, machine: Machine, slots_per_gpu: int = 1) -> tuple[SlotSpec, ...]:
    """The slots that ``wish`` asks for.

    Args:
        wish: ``auto`` (every GPU, or one CPU slot where there is none), ``cpu:N``, or ``gpu:0,1`` (``gpu`` for all).
        slots_per_gpu: how many runs train on one GPU at once.

    Raises:
        InvalidInputError: the wish cannot be read, or names a GPU that is not there.
    """
    kind, _, rest = wish.strip().partition(":")
    if slots_per_gpu < 1:
        raise InvalidInputError(f"slots-per-gpu is {slots_per_gpu}", "give a number from 1 on")
    match kind:
        case "auto" if not rest:
            slots = _gpu_slots(client, machine, range(len(machine.gpus)), slots_per_gpu) or _cpu_slots(client, machine, 1)
        case "cpu":
            slots = _cpu_slots(client, machine, _number(rest or "1", wish))
        case "gpu":
            indexes = [_number(part, wish) for part in rest.split(",")] if rest else list(range(len(machine.gpus)))
            slots = _gpu_slots(client, machine, indexes, slots_per_gpu)
        case _:
            raise InvalidInputError(f"slots {wish!r} cannot be understood", _HINT)
    if not slots:
        raise InvalidInputError(f"slots {wish!r} are none: this machine shows {len(machine.gpus)} GPUs", _HINT)
    if len(slots) > SLOTS_LIMIT:
        raise InvalidInputError(f"{len(slots)} slots are more than the limit of {SLOTS_LIMIT} a client", "offer fewer slots")
    return tuple(slots)


def _cpu_slots(client: ClientName, machine: Machine, count: int) -> list[SlotSpec]:
    if count > SLOTS_LIMIT:
        raise InvalidInputError(f"{count} slots are more than the limit of {SLOTS_LIMIT} a client", "offer fewer slots")
    # On one or two cores a second thread of a slot only takes turns with everything else.
    threads = 1 if machine.cores <= 2 else max(1, machine.cores // max(1, count))
    memory_bytes = machine.memory_bytes // max(1, count)
    return [SlotSpec(SlotId(f"{client}/{index}"), "cpu", threads, memory_bytes, machine.cpu_name) for index in range(count)]


def _gpu_slots(client: ClientName, machine: Machine, gpus: range | list[int], slots_per_gpu: int) -> list[SlotSpec]:
    slots: list[SlotSpec] = []
    threads = max(1, machine.cores // max(1, len(gpus) * slots_per_gpu))
    if len(set(gpus)) != len(gpus):
        raise InvalidInputError("a GPU is named twice", "use --slots-per-gpu to train several runs on one GPU")
    for index in gpus:
        if index >= len(machine.gpus):
            raise InvalidInputError(f"GPU {index} is not there: this machine shows {len(machine.gpus)} GPUs", _HINT)
        gpu = machine.gpus[index]
        for _ in range(slots_per_gpu):
            slot = SlotId(f"{client}/{len(slots)}")
            slots.append(SlotSpec(slot, f"cuda:{index}", threads, gpu.memory_bytes // slots_per_gpu, gpu.name))
    return slots


def _number(text: str, wish: str) -> int:
    if not text.strip().isdecimal():
        raise InvalidInputError(f"slots {wish!r} cannot be understood: {text!r} is no number", _HINT)
    return int(text)


def _gpus() -> tuple[Gpu, ...]:
    try:
        # Asked before nvitop, which prints a page of advice where there is no driver.
        ctypes.CDLL("libnvidia-ml.so.1")
        from nvitop import CudaDevice

        return tuple(Gpu(str(device.name()), int(device.memory_total())) for device in CudaDevice.all())
    except Exception as error:  # NVML raises many types of its own where there is no driver
        logger.info("no GPU is visible on this machine")
        logger.debug("looking for GPUs: %s", error)
        return ()


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"
