"""What a client measures by time, as columns: the messages of the sample stream, and the names of what is measured."""

from __future__ import annotations

from dataclasses import dataclass

from gswarm.domain.ids import ClientName

MACHINE = "machine"
"""The device of what belongs to the whole machine. Others are ``gpu:0``, ``gpu:0/mig:1`` and, for what training measures, ``slot:0``."""


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """One series of values by time."""

    client: ClientName
    device: str
    owner: str
    """Empty for the device as a whole, else whose share of it this is: ``run:ID``, ``job:ID`` or ``outsider:ACCOUNT``."""
    metric: str
    """A name of ``profiler.catalog``."""


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """Values of one device (or one owner's share of it) at several times.

    Attributes:
        times_us: microseconds since the epoch by the client's clock, one a row, as little-endian int64.
        values: metric after metric, ``len(metrics) * rows`` values as little-endian float64. NaN is a sensor that had no answer.
    """

    device: str
    owner: str
    metrics: tuple[str, ...]
    times_us: bytes
    values: bytes


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    """A process that uses a device, and whose it is."""

    pid: int
    account: str
    command: str
    owner: str
    memory_used_bytes: int | None
    sm_utilization: float | None = None
    """Share of the device's multiprocessors; ``None`` where the driver does not say."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What does not change with every sample."""

    device: str
    kind: str
    """``machine``, ``gpu``, ``mig`` or ``slot``."""
    name: str
    """The product's, as ``NVIDIA H200``."""
    uuid: str = ""
    memory_total_bytes: int | None = None
    parent: str = ""
    """The GPU of a MIG device, the device of a slot."""
    processes: tuple[DeviceProcess, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """One message of the sample stream; the host answers with its ``seq`` once it is stored.

    Attributes:
        spool: the client's spool, a random name that a new spool directory makes. A batch is known by (client, spool, seq), so one that is
            sent again is stored once.
        seq: grows by one with every batch of a spool.
        clock_offset_s: what to add to the client's times for the host's, as last measured; ``None`` before the first measurement.
        clock_error_s: half the round trip of that measurement.
        devices: those that are new or have changed since the last batch; all of them in the first batch of a connection.
    """

    spool: str
    seq: int
    columns: tuple[SampleColumns, ...] = ()
    devices: tuple[DeviceInfo, ...] = ()
    clock_offset_s: float | None = None
    clock_error_s: float | None = None


@dataclass(frozen=True, slots=True)
class SampleAck:
    """The host's answer: ``seq`` and all before it are stored. ``seq`` is 0 where only the intervals changed.

    Attributes:
        received_us, sent_us: the host's clock when the batch came and when this left: with the client's own two times they give the offset
            of the clocks (RFC 5905, section 8).
        intervals_s: seconds between samples, a metric's name or ``*`` for the others; what sessions ask for. Empty: as before.
    """

    seq: int
    received_us: int
    sent_us: int
    intervals_s: tuple[tuple[str, float], ...] = ()
