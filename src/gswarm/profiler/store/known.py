"""What the sample store knows besides values: which batches it has, the devices, the clients' clocks. Saved with every segment."""

from __future__ import annotations

import json
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gswarm.domain.errors import CorruptDataError
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import DeviceInfo, DeviceProcess
from gswarm.profiler.store.latest import LatestRows
from gswarm.profiler.store.rows import US, Subjects
from gswarm.profiler.store.sample_store import Times
from gswarm.profiler.store.subjects import Subject

SPOOLS_PER_CLIENT_MAX = 64
"""A client makes a new spool with a new disk. Of the one that was silent longest the store forgets which batches it has."""
HOLES_MAX = 4096
"""Batches of one spool that are remembered one by one, ahead of a missing one. A client sends a spool in order, so with more of them the
missing one will not come: it was spoiled, or went for want of room."""
DEVICES_PER_CLIENT_MAX = 1024
PROCESSES_PER_DEVICE_MAX = 256
SHIFTS_PER_CLIENT_MAX = 256
SHIFT_STEP_MIN_S = 0.001
OFFSET_MAX_S = 366 * 86400.0

_VERSION = 1


class Spool:
    """Which numbers of a spool are stored: all up to one, and some above it."""

    __slots__ = ("above", "up_to")

    def __init__(self, up_to: int = 0, above: Iterable[int] = ()) -> None:
        self.up_to = up_to
        self.above = set(above)

    def __contains__(self, seq: int) -> bool:
        return seq <= self.up_to or seq in self.above

    def add(self, seq: int) -> None:
        self.above.add(seq)
        if len(self.above) > HOLES_MAX:
            self.up_to = min(self.above) - 1
        while self.up_to + 1 in self.above:
            self.up_to += 1
            self.above.remove(self.up_to)


@dataclass(slots=True)
class Clock:
    """What to add to a client's times: from each of ``from_us`` on (by its own clock) the shift beside it. Before the first: that one."""

    from_us: list[int] = field(default_factory=list)
    shift_us: list[int] = field(default_factory=list)

    def measured(self, at_us: int, offset_s: float, error_s: float) -> None:
        """An offset that is no larger than its error counts as none; what is about the shift in force changes nothing."""
        shift_us = round(offset_s * US) if abs(offset_s) > error_s else 0
        place = bisect_right(self.from_us, at_us)
        in_force = self.shift_us[max(place - 1, 0)] if self.shift_us else 0
        # By what was measured: an offset that wavers about its error would otherwise come and go as a shift.
        if abs(offset_s * US - in_force) <= max(error_s, SHIFT_STEP_MIN_S) * US:
            return
        self.from_us.insert(place, at_us)
        self.shift_us.insert(place, shift_us)
        if len(self.from_us) > SHIFTS_PER_CLIENT_MAX:
            # The step that tells least goes, wherever it is: what was long ago must not move in time.
            least = int(np.argmin(np.abs(np.diff(self.shift_us)))) + 1
            del self.from_us[least], self.shift_us[least]

    def shifts(self, at_us: Times) -> NDArray[np.int64]:
        """For each time what to add to it."""
        places = np.searchsorted(np.array(self.from_us, np.int64), at_us, side="right") - 1
        return np.array(self.shift_us, np.int64)[np.maximum(places, 0)]


def host_times(subject: Subjects, at_us: Times, clocks: Mapping[ClientName, Clock], subjects: Sequence[Subject]) -> Times:
    """Times by the host's clock: those of rows of ``subject``, by the clocks of the clients that differ from it."""
    if not clocks or not len(at_us):
        return at_us
    numbers = {client: number for number, client in enumerate(clocks, start=1)}
    clock_of_subject = np.array([numbers.get(client, 0) for client, _, _ in subjects], np.uint16)
    clock_of = clock_of_subject[subject]
    # Sorted once, as there may be as many clocks as clients.
    order = np.argsort(clock_of, kind="stable")
    bounds = np.searchsorted(clock_of[order], np.arange(1, len(clocks) + 2, dtype=np.uint16)).tolist()
    at_us = at_us.copy()
    for clock, (first, last) in zip(clocks.values(), pairwise(bounds), strict=True):
        if last > first:
            own = order[first:last]
            at_us[own] += clock.shifts(at_us[own])
    return at_us


@dataclass(slots=True)
class Known:
    """See the module. Not safe for several threads."""

    spools: dict[ClientName, dict[str, Spool]] = field(default_factory=dict)
    """A client's spools, the one that was heard of last at the end."""
    devices: dict[tuple[ClientName, str], tuple[DeviceInfo, float]] = field(default_factory=dict)
    """With when it was last heard of, in seconds since the epoch."""
    clocks: dict[ClientName, Clock] = field(default_factory=dict)
    latest: LatestRows = ()
    """The newest values, as they were saved; only after a start."""

    def has(self, client: ClientName, spool: str, seq: int) -> bool:
        found = self.spools.get(client, {}).get(spool)
        return found is not None and seq in found

    def add(self, client: ClientName, spool: str, seq: int) -> None:
        spools = self.spools.setdefault(client, {})
        entry = spools.pop(spool, None) or Spool()
        spools[spool] = entry
        entry.add(seq)
        if len(spools) > SPOOLS_PER_CLIENT_MAX:
            del spools[next(iter(spools))]

    def describe(self, client: ClientName, devices: Iterable[DeviceInfo], at_s: float) -> int:
        """Returns how many found no room."""
        devices = tuple(devices)
        refused = 0
        if not devices:
            return refused
        own = sum(1 for owner, _ in self.devices if owner == client)
        for device in devices:
            key = (client, device.device)
            if key not in self.devices:
                if own >= DEVICES_PER_CLIENT_MAX:
                    refused += 1
                    continue
                own += 1
            self.devices[key] = (device, at_s)
        return refused

    def saw(self, client: ClientName, device: str, at_s: float) -> None:
        known = self.devices.get((client, device))
        if known is not None and at_s > known[1]:
            self.devices[client, device] = (known[0], at_s)

    def forget_before(self, at_s: float) -> None:
        """Devices that were not heard of since."""
        self.devices = {key: found for key, found in self.devices.items() if found[1] >= at_s}

    def encode(self, latest: LatestRows = ()) -> bytes:
        document = {
            "version": _VERSION,
            "spools": {
                client: [[name, spool.up_to, sorted(spool.above)] for name, spool in spools.items()]
                for client, spools in self.spools.items()
            },
            "devices": [[client, at_s, astuple(device)] for (client, _), (device, at_s) in self.devices.items()],
            "latest": list(latest),
            "clocks": {client: [clock.from_us, clock.shift_us] for client, clock in self.clocks.items()},
        }
        text = json.dumps(document).encode()
        return b"%08x\n" % zlib.crc32(text) + text

    @classmethod
    def decode(cls, data: bytes) -> Known:
        """Raises CorruptDataError."""
        checksum, _, text = data.partition(b"\n")
        try:
            if int(checksum, 16) != zlib.crc32(text):
                raise ValueError("its checksum is another")
            return cls._of(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptDataError(f"not what was saved: {error}") from error

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> Known:
        if document["version"] != _VERSION:
            raise ValueError(f"its version is {document['version']}")
        return cls(
            {client: {name: Spool(up_to, above) for name, up_to, above in rows} for client, rows in document["spools"].items()},
            {(ClientName(client), fields[0]): (device_of(fields), float(at_s)) for client, at_s, fields in document["devices"]},
            {client: Clock(from_us, shift_us) for client, (from_us, shift_us) in document["clocks"].items()},
            document["latest"],
        )


def device_of(fields: Any) -> DeviceInfo:
    """From ``astuple``'s form, as JSON gives it back."""
    device, kind, name, uuid, memory_total_bytes, parent, processes = fields
    return DeviceInfo(device, kind, name, uuid, memory_total_bytes, parent, tuple(DeviceProcess(*process) for process in processes))
