"""How the running host fares: its journal, its disks, who is connected."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from gswarm.datapool.layout import storage_errors
from gswarm.host.services import HostServices


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """``lag_events`` are what a start after a crash would have to replay. Times are seconds since the epoch."""

    newest_event: int
    oldest_event: int
    """Whoever follows the events may resume from here on."""
    lag_events: int
    waiting_events: int
    last_flush_ms: float | None
    snapshot_event: int | None
    snapshot_age_s: float | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DiskStatus:
    path: str
    free_bytes: int
    """For this account."""
    total_bytes: int


@dataclass(frozen=True, slots=True)
class HostStatus:
    journal: JournalStatus
    disks: dict[str, DiskStatus]
    """``data`` and ``pool``; often the same disk."""
    connected: int
    """Clients with a session now."""
    open_leases: int
    """Grants that are neither committed nor over."""
    open_jobs: int
    epoch: int


def _journal_status(services: HostServices) -> JournalStatus:
    """Looks at files."""
    loop = services.loop
    seq, oldest = loop.seq, loop.oldest
    with storage_errors("look at the journal"):
        saved = loop.journal.snapshot_saved()
        size_bytes = loop.journal.size_bytes()
    return JournalStatus(
        newest_event=seq,
        oldest_event=min(oldest + 1, seq),
        lag_events=seq - (saved[0] if saved is not None else 0),
        waiting_events=loop.waiting,
        last_flush_ms=loop.last_flush_s * 1_000 if loop.last_flush_s is not None else None,
        snapshot_event=saved[0] if saved is not None else None,
        snapshot_age_s=max(0.0, services.clock() - saved[1]) if saved is not None else None,
        size_bytes=size_bytes,
    )


def _disk_status(path: Path) -> DiskStatus:
    with storage_errors(f"look at the disk of {path}"):
        disk = os.statvfs(path)
    return DiskStatus(str(path), disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)


async def host_status(services: HostServices) -> HostStatus:
    """Called on the event loop's thread. Raises StorageError."""
    state, data_dir = services.state, Path(services.config.data_dir).expanduser()
    granted = {run for runs in state.index.granted.values() for run in runs}
    open_leases = sum(len(state.runs[run].grants) for run in granted)
    journal = await asyncio.to_thread(_journal_status, services)
    data, pool = await asyncio.gather(*(asyncio.to_thread(_disk_status, path) for path in (data_dir, data_dir / "pool")))
    return HostStatus(
        journal=journal,
        disks={"data": data, "pool": pool},
        connected=len(services.sessions.connected),
        open_leases=open_leases,
        open_jobs=state.index.jobs.open_count(),
        epoch=state.epoch,
    )
