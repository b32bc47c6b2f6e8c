"""Whose this client's processes are, and on which of its slots other people's are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from gswarm.client.jobs import JobRunner
from gswarm.client.sampling.attribution import OWN
from gswarm.client.sampling.station import Station
from gswarm.client.trainers import Trainers
from gswarm.domain.messages import OutsidersSeen

ACCOUNTS_CHARS_MAX = 200


def own_processes(station: Station | None, trainers: Trainers, jobs: JobRunner) -> dict[int, str]:
    """Whose the processes are that this client has started, as the owner of a share of a device."""
    owners = {os.getpid(): OWN}
    for slot_index, pid in trainers.pids.items():
        run = station.collector.meters[slot_index].run if station is not None else None
        owners[pid] = f"run:{run}" if run is not None else OWN
    if jobs.running is not None:
        owners[jobs.running[0]] = f"job:{jobs.running[1]}"
    return owners


def outsiders_on(slot_devices: Sequence[str], accounts_by_device: Mapping[str, str]) -> OutsidersSeen:
    """What the host is told of devices that outsiders use, slot by slot."""
    return OutsidersSeen(
        tuple(
            (number, accounts_by_device[device][:ACCOUNTS_CHARS_MAX])
            for number, device in enumerate(slot_devices)
            if device in accounts_by_device
        )
    )
