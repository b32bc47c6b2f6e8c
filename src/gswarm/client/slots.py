"""Which slots this machine offers. GPUs are found through NVML (nvitop); torch is not imported."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName, SlotId
from gswarm.domain.plan import SlotSpec
from gswarm.domain.samples import MACHINE

logger = logging.getLogger(__name__)

SLOTS_LIMIT = 64
DRIVER_PATIENCE_S = 60.0
"""How long the GPU driver may take to say what there is; the first call after a start of the machine takes longest."""
_HINT = "write auto, cpu:N for N slots on the CPU, or gpu:0,1 for these GPUs"


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    memory_bytes: int
    device: str = ""
    """As samples name it, by the driver's number: ``gpu:0`` or ``gpu:0/mig:1``."""


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


def sampled_devices(slots: Sequence[SlotSpec], machine: Machine) -> tuple[str, ...]:
    """The device of each slot, as samples name it."""
    return tuple(machine.gpus[int(slot.device.partition(":")[2])].device if slot.device != "cpu" else MACHINE for slot in slots)


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


def _gpus(patience_s: float = DRIVER_PATIENCE_S) -> tuple[Gpu, ...]:
    try:
        # Asked before nvitop, which prints a page of advice where there is no driver.
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        logger.info("no GPU is visible on this machine")
        return ()
    process = subprocess.Popen(
        [sys.executable, "-m", "gswarm.client.gpu_list"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        found, complaints = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()  # and not waited for: what hangs in the driver may not end
        logger.warning("the GPU driver did not answer within %.0f s: no GPU is offered", patience_s)
        return ()
    try:
        return tuple(Gpu(str(name), int(memory_bytes), str(device)) for name, memory_bytes, device in json.loads(found))
    except (ValueError, TypeError):
        logger.info("no GPU is visible on this machine")
        logger.debug("looking for GPUs: %s", complaints.decode(errors="replace")[-2000:])
        return ()


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"
