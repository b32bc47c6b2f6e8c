"""Whose a process on a GPU is: a run's, a job's, or an outsider's. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gswarm.domain.samples import DeviceProcess
from gswarm.profiler.sensors.process_names import UNKNOWN
from gswarm.profiler.sensors.readings import ProcessReading

OUTSIDER = "outsider:"
NAMED_MAX = 64
OWN = ""
"""The owner of a process of this client that trains for nobody at the moment."""


@dataclass(frozen=True, slots=True)
class Share:
    """What an owner uses of a device; NaN where the driver does not say."""

    device: str
    owner: str
    memory_used: float
    sm_utilization: float


def owner_of(process: ProcessReading, ours: Mapping[int, str]) -> str:
    """``ours`` names the owner of each process that this client started; all that they start along is theirs."""
    for pid in process.lineage:
        if pid in ours:
            return ours[pid]
    return OUTSIDER + (process.account or UNKNOWN)


def describe(processes: Iterable[ProcessReading], ours: Mapping[int, str]) -> dict[str, tuple[DeviceProcess, ...]]:
    """The processes of each device, as the host is told: the first ``NAMED_MAX``."""
    by_device: dict[str, list[DeviceProcess]] = {}
    for one in processes:
        owner = owner_of(one, ours)
        described = DeviceProcess(one.pid, one.account, one.command, owner, one.memory_used_bytes, one.sm_utilization)
        by_device.setdefault(one.device, []).append(described)
    return {device: tuple(found[:NAMED_MAX]) for device, found in by_device.items()}


def shares(processes: Iterable[ProcessReading], ours: Mapping[int, str]) -> list[Share]:
    """What each owner's processes use of each device together."""
    grouped: dict[tuple[str, str], list[ProcessReading]] = {}
    for one in processes:
        owner = owner_of(one, ours)
        if owner != OWN:
            grouped.setdefault((one.device, owner), []).append(one)
    return [
        Share(
            device,
            owner,
            _sum(one.memory_used_bytes for one in members),
            min(_sum(one.sm_utilization for one in members), 1.0),
        )
        for (device, owner), members in sorted(grouped.items())
    ]


def outsiders(processes: Iterable[ProcessReading], ours: Mapping[int, str]) -> dict[str, str]:
    """Devices that outsiders use, with their accounts. A process that cannot be looked at is none: where the driver counts processes as
    the machine does and this client lives in a container, that may be its own."""
    found: dict[str, set[str]] = {}
    for one in processes:
        owner = owner_of(one, ours)
        if owner.startswith(OUTSIDER) and owner != OUTSIDER + UNKNOWN:
            found.setdefault(one.device, set()).add(owner.removeprefix(OUTSIDER))
    return {device: ", ".join(sorted(accounts)) for device, accounts in sorted(found.items())}


def _sum(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(sum(known)) if known else math.nan
