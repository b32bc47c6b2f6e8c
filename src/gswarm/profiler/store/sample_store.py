"""The protocol of the sample store, its queries and its answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gswarm.domain.ids import ClientName
from gswarm.domain.samples import DeviceInfo, SampleBatch, SeriesKey

Times = NDArray[np.int64]
"""Microseconds since the epoch."""
Values = NDArray[np.float64]
"""NaN is n/a."""


class Aggregate(StrEnum):
    """What becomes of the series of one group."""

    NONE = "none"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    SUM = "sum"


class By(StrEnum):
    """Which series belong to one group."""

    DEVICE = "device"
    CLIENT = "client"
    RUN = "run"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Span:
    """A device, or an owner's share of it, that a run had for a time.

    Attributes:
        device: empty means every device of the client.
        owner: empty for the device as a whole.
        from_s, to_s: seconds since the epoch; the end does not belong to it.
    """

    run: str
    client: ClientName
    device: str
    owner: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """What of which series, over which time.

    Attributes:
        from_s, to_s: seconds since the epoch by the host's clock, both included where points are samples. Buckets are whole: the first
            one holds ``from_s``, none begins at ``to_s``.
        points: values a series at most, and the measure for the resolution.
        clients, devices: empty means all.
        owners: whose shares of devices are wanted, empty means everybody's; devices as a whole are nobody's share.
        spans: what runs had and when; ``None`` means that runs do not matter, empty that nothing is selected.
    """

    metrics: tuple[str, ...]
    from_s: float
    to_s: float
    points: int = 500
    clients: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    spans: tuple[Span, ...] | None = None
    aggregate: Aggregate = Aggregate.NONE
    by: By = By.DEVICE


@dataclass(frozen=True, slots=True)
class AnswerSeries:
    """One line of a chart. What does not apply to a group (its device, say) is empty.

    Attributes:
        at_us, mean, low, high: of equal length, in order of time. NaN is a gap or a sensor that had no answer.
    """

    client: str
    device: str
    owner: str
    run: str
    metric: str
    at_us: Times
    mean: Values
    low: Values
    high: Values


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """``step_s`` is the width of a point, 0 where points are the samples themselves."""

    from_s: float
    to_s: float
    step_s: float
    series: tuple[AnswerSeries, ...]


class SampleStore(Protocol):
    """Values by time of all clients. Safe to use from several threads."""

    def append(self, client: ClientName, batch: SampleBatch) -> None:
        """Stores a batch, once a (client, spool, seq), whatever the order. What it held survives a kill of the host when this returns.

        Raises:
            InvalidInputError: lengths do not fit, or names or times cannot be; nothing of the batch is stored.
            StorageError: the disk is full or broken; the batch may be sent again.
        """

    def flush(self) -> None:
        """What was appended before survives power loss when this returns. Raises StorageError."""

    def devices(self) -> list[tuple[ClientName, DeviceInfo, float]]:
        """Every device's newest description and when it was last heard of, in seconds since the epoch."""

    def latest(self) -> dict[SeriesKey, tuple[float, float]]:
        """The newest (seconds since the epoch, value) of every series that is not too old; NaN where the sensor had no answer."""

    def query(self, query: SampleQuery) -> SampleAnswer:
        """Raises InvalidInputError where the query cannot be answered: unknown metrics, a range of no length, too few points."""

    def close(self) -> None:
        """Idempotent. What was appended stays."""
