"""Batches of samples for tests, and a store without a thread of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gswarm.domain.ids import ClientName
from gswarm.domain.samples import DeviceInfo, SampleBatch, SampleColumns
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.store_limits import StoreLimits

T0 = 1_800_000_000.0
A, B = ClientName("a"), ClientName("b")


def columns(device: str, at_s: Sequence[float], values: Mapping[str, Sequence[float]], owner: str = "") -> SampleColumns:
    """``at_s`` counts from ``T0``."""
    times = np.array([round((T0 + at) * 1e6) for at in at_s], "<i8")
    matrix = np.array(list(values.values()), "<f8")
    return SampleColumns(device, owner, tuple(values), times.tobytes(), matrix.tobytes())


def batch(seq: int, *parts: SampleColumns, devices: tuple[DeviceInfo, ...] = (), offset_s: float | None = None) -> SampleBatch:
    return SampleBatch("0123456789abcdef", seq, parts, devices, offset_s, 0.001 if offset_s is not None else None)


class Now:
    """The host's clock, by hand."""

    def __init__(self, at_s: float = 0.0) -> None:
        self.at_s = T0 + at_s

    def __call__(self) -> float:
        return self.at_s


def open_store(root: Path, now: Now | None = None, **limits: float) -> ParquetSampleStore:
    chosen = StoreLimits(**limits)  # type: ignore[arg-type]
    return ParquetSampleStore(root, chosen, now or Now(100.0), fold_in_background=False)
