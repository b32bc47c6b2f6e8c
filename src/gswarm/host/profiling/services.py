"""The parts of the profiler that a host has, together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gswarm.domain.config import ProfilerConfig
from gswarm.host.loop import PlanLoop
from gswarm.host.profiling.sessions import ProfilerSessions
from gswarm.host.timeline.chronicle import Chronicle
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.store_limits import StoreLimits
from gswarm.profiler.warm_up import warm_up


@dataclass(frozen=True, slots=True)
class ProfilerServices:
    """All are safe on any thread once the chronicle was started on the event loop's."""

    samples: ParquetSampleStore
    sessions: ProfilerSessions
    chronicle: Chronicle


def open_samples(root: Path, config: ProfilerConfig, clock: Callable[[], float]) -> ParquetSampleStore:
    """The sample store below the data directory's ``series``. Raises StorageError."""
    limits = StoreLimits(
        raw_retention_s=config.raw_retention_s,
        medium_retention_s=config.rollup_10s_retention_s,
        coarse_retention_s=config.rollup_5min_retention_s,
        disk_bytes_max=config.disk_bytes_max,
        memory_bytes_max=config.memory_bytes_max,
    )
    store = ParquetSampleStore(root / "samples", limits, clock)
    warm_up(store, clock())
    return store


def open_profiler(
    root: Path, samples: ParquetSampleStore, sessions: ProfilerSessions, loop: PlanLoop, clock: Callable[[], float]
) -> ProfilerServices:
    """What is left of it, around the store. Raises StorageError."""
    return ProfilerServices(samples, sessions, Chronicle(root / "chronicle.db", loop, clock))
