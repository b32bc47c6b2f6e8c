"""What a trainer or job process prints, in a file that cannot grow without end."""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path

logger = logging.getLogger(__name__)

TAIL_BYTES = 8 * 1024
LOG_BYTES_MAX = 8 * 1024 * 1024
"""Of one file; the one before it is kept as ``<name>.1``."""


class CappedLog:
    """Appends to a file, starts it anew at ``bytes_max``, and remembers the last 8 KiB. A full disk loses log lines, nothing else."""

    def __init__(self, path: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_bytes += len(data)
        while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())
        try:
            if self._file.tell() + len(data) > self._bytes_max:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = self._path.open("ab", buffering=0)
            self._file.write(data)
        except OSError as error:
            logger.warning("cannot write %s: %s", self._path, error)

    def tail(self) -> str:
        """The last lines that were written through this object."""
        return b"".join(self._tail)[-TAIL_BYTES:].decode(errors="replace")

    def close(self) -> None:
        self._file.close()
