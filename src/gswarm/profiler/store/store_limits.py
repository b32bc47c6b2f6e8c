"""What a sample store may use, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass

from gswarm.profiler.store.segments import COARSE_S, MEDIUM_S, RAW


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What the store may use. Ages are by the newest value of a file."""

    raw_retention_s: float = 7 * 86400.0
    medium_retention_s: float = 60 * 86400.0
    coarse_retention_s: float = 731 * 86400.0
    disk_bytes_max: int = 20 * 1024**3
    memory_bytes_max: int = 256 * 1024**2
    """For rows that are in files, too: half for new raw ones, half for what was read. What is not yet in files comes on top."""
    fold_bytes: int = 64 * 1024**2
    fold_age_s: float = 3600.0

    def retention_s(self, resolution_s: int) -> float:
        return {RAW: self.raw_retention_s, MEDIUM_S: self.medium_retention_s, COARSE_S: self.coarse_retention_s}[resolution_s]


@dataclass(slots=True)
class Counts:
    """Since the start."""

    values: int = 0
    batches: int = 0
    duplicates: int = 0
    infinite: int = 0
    unknown: int = 0
    refused: int = 0
    """Values and devices beyond the limits."""
