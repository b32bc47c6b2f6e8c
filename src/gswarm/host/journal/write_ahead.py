"""Damage in SQLite's write-ahead log, which SQLite takes for a torn write: it ends the log there and says nothing.

A write that was torn by a loss of power is the last transaction, which nobody was told of. Where whole transactions follow behind the place
that SQLite stops at, everything before them was flushed, so what is wrong there went wrong on the disk.
Format: https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from gswarm.domain.errors import CorruptDataError

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
SALTS_AT, SUMS_AT = 16, 24
PAGE_BYTES_AT, PAGE_BYTES_MAX = 16, 65_536


@dataclass(frozen=True, slots=True)
class Frame:
    """The header of one page in the log."""

    salts: bytes
    """Of the log that it was written to; those of an earlier one are left over behind the end of the present one."""
    is_commit: bool


@dataclass(frozen=True, slots=True)
class Log:
    """What a log holds by its frames' headers, before SQLite looks at it."""

    salts: bytes | None
    """Of the present log; ``None`` where its header is damaged."""
    frames: tuple[Frame, ...]

    def check(self, path: Path, valid_frames: int) -> None:
        """Compares with how many frames SQLite found valid. Raises CorruptDataError when whole transactions lie behind them."""
        present = self.salts if self.salts is not None or not self.frames else self.frames[0].salts
        behind = [frame for frame in self.frames[valid_frames:] if frame.salts == present]
        # The last one may be the commit of the very transaction that was torn.
        if any(frame.is_commit for frame in behind[:-1]):
            raise CorruptDataError(
                f"{path}-wal is damaged behind page {valid_frames}, and what follows was acknowledged",
                "restore the last backup: gswarm host restore FILE --data-dir NEW",
            )


def read_log(path: Path) -> Log | None:
    """The log beside a database file, or ``None`` if there is none. Raises OSError."""
    try:
        with path.open("rb") as database:
            page_bytes = int.from_bytes(database.read(PAGE_BYTES_AT + 2)[PAGE_BYTES_AT:], "big")
        page_bytes = PAGE_BYTES_MAX if page_bytes == 1 else page_bytes
        log = path.with_name(f"{path.name}-wal")
        size_bytes = log.stat().st_size
        with log.open("rb") as file:
            header = file.read(HEADER_BYTES)
            frames = []
            for start in range(HEADER_BYTES, size_bytes - FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + page_bytes) if page_bytes else ():
                file.seek(start)
                _page, pages_after_commit, frame_salts = struct.unpack(">II8s", file.read(16))
                frames.append(Frame(frame_salts, bool(pages_after_commit)))
    except FileNotFoundError:
        return None
    return Log(header[SALTS_AT:SUMS_AT] if _is_intact(header) else None, tuple(frames))


def _is_intact(header: bytes) -> bool:
    """Whether the header has its own checksum. The lowest bit of its first word says in which byte order the sums are made."""
    if len(header) < HEADER_BYTES:
        return False
    words = struct.unpack(f"{'>' if header[3] & 1 else '<'}6I", header[:SUMS_AT])
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return struct.unpack(">2I", header[SUMS_AT:HEADER_BYTES]) == (first, second)
