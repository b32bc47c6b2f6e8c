"""Folders that trainer processes write snapshots to: in shared memory where there is room, else in the data directory."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from gswarm.domain.ids import RunId
from gswarm.runtime.locks import FileLock

SHM = Path("/dev/shm")  # noqa: S108  the folders in it are private: mkdtemp makes them with mode 0700
PREFIX = "gswarm-"
SHM_RESERVE_BYTES = 256 * 1024 * 1024
"""Left free in shared memory for everybody else."""


class SnapshotDirs:
    """One private folder a client in each place, held by a lock, so that those of dead clients are told apart and removed.

    Args:
        data_dir: the client's data directory; must exist.
        shm: where shared memory is mounted.
    """

    def __init__(self, data_dir: Path, shm: Path = SHM) -> None:
        fallback = data_dir / "snapshots"
        fallback.mkdir(mode=0o700, exist_ok=True)
        self._dirs: dict[tuple[RunId, int], Path] = {}
        self._locks: list[FileLock] = []
        self._shm_root = self._make_root(shm) if _is_writable(shm) else None
        self._disk_root = self._make_root(fallback)

    def _make_root(self, place: Path) -> Path:
        sweep(place)
        root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = FileLock(root / "lock")
        lock.acquire()
        self._locks.append(lock)
        return root

    def make(self, run: RunId, generation: int, need_bytes: int) -> Path:
        """A new empty folder for a snapshot of about ``need_bytes``."""
        self.remove(run, generation)
        root = self._disk_root
        if self._shm_root is not None and shutil.disk_usage(self._shm_root).free >= need_bytes + SHM_RESERVE_BYTES:
            root = self._shm_root
        path = Path(tempfile.mkdtemp(prefix=f"{generation}-", dir=root))
        self._dirs[(run, generation)] = path
        return path

    def remove(self, run: RunId, generation: int) -> None:
        """Removes the grant's snapshot, if there is one."""
        path = self._dirs.pop((run, generation), None)
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)

    def discard(self, path: str) -> None:
        """Removes a snapshot by its folder; only folders made here are touched."""
        for (run, generation), known in list(self._dirs.items()):
            if str(known) == path:
                self.remove(run, generation)

    def close(self) -> None:
        for root in (self._shm_root, self._disk_root):
            if root is not None:
                shutil.rmtree(root, ignore_errors=True)
        for lock in self._locks:
            lock.release()
        self._dirs.clear()


def sweep(place: Path) -> None:
    """Removes the folders under ``place`` whose client is dead."""
    for root in place.glob(PREFIX + "*"):
        lock = FileLock(root / "lock")
        # A folder of another user, or one that another client removes now, is left alone.
        with suppress(OSError):
            if (root / "lock").exists() and lock.acquire():
                shutil.rmtree(root, ignore_errors=True)
        lock.release()


def _is_writable(place: Path) -> bool:
    return place.is_dir() and os.access(place, os.W_OK)
