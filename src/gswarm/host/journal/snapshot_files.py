"""Snapshots as files: a digest and the payload, written aside and renamed, the two newest kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from gswarm.datapool.layout import storage_errors, sync_folder

KEPT = 2
DIGEST_BYTES = 32
SUFFIX = ".snapshot"
ASIDE_SUFFIX = ".ahead"


class SnapshotFiles:
    """The snapshots of one journal.

    Args:
        folder: made if it is missing.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with storage_errors(f"open the snapshots in {folder}"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def save(self, seq: int, payload: bytes) -> None:
        """Raises StorageError; the earlier snapshots are there then as before."""
        path = self._folder / f"{seq:016d}{SUFFIX}"
        partial = path.with_suffix(".partial")
        with storage_errors(f"save the snapshot {path}"):
            try:
                with partial.open("wb") as file:
                    file.write(blake3(payload).digest())
                    file.write(payload)
                    file.flush()
                    os.fsync(file.fileno())
                partial.rename(path)
                sync_folder(self._folder)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
            for _seq, old in self.paths()[KEPT:]:
                old.unlink(missing_ok=True)

    def set_aside(self, newest_seq: int) -> list[int]:
        """Those of entries that the journal does not have (any more): they must not be taken for snapshots of the entries to come."""
        ahead = [(seq, path) for seq, path in self.paths() if seq > newest_seq]
        with storage_errors(f"set snapshots aside in {self._folder}"):
            for _seq, path in ahead:
                path.replace(path.with_suffix(ASIDE_SUFFIX))
        return [seq for seq, _path in ahead]

    def paths(self) -> list[tuple[int, Path]]:
        """``(seq, file)``, the newest first."""
        return sorted(((int(path.stem), path) for path in self._folder.glob(f"*{SUFFIX}") if path.stem.isdecimal()), reverse=True)

    def intact(self) -> Iterator[tuple[int, bytes]]:
        """``(seq, payload)`` of those that are as they were written, the newest first."""
        for seq, path in self.paths():
            payload = _read(path)
            if payload is not None:
                yield seq, payload

    def saved_at_s(self) -> float | None:
        """When the newest was written, in seconds since the epoch."""
        for _seq, path in self.paths():
            return path.stat().st_mtime
        return None


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content[DIGEST_BYTES:] if blake3(content[DIGEST_BYTES:]).digest() == content[:DIGEST_BYTES] else None
