"""What happened in a simulation, line by line, and one digest of all of it."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Any

from gswarm.simulator.heap import Heap

LINES_KEPT = 5_000
_NAMES = (
    "run",
    "job",
    "generation",
    "seq",
    "accepted",
    "error_code",
    "from_step",
    "to_step",
    "reached_step",
    "op",
    "key",
    "client",
    "request",
)


class Trace:
    """The newest lines, and a digest of all: equal digests mean that everything happened the same way at the same time."""

    def __init__(self, heap: Heap) -> None:
        self._heap = heap
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._hash = blake2b(digest_size=16)

    def note(self, text: str) -> None:
        line = f"{self._heap.now_s:10.3f}  {text}"
        self._lines.append(line)
        self._hash.update(line.encode())

    def lines(self, count: int) -> list[str]:
        """The newest ``count``."""
        return list(self._lines)[-count:]

    def digest(self, more: bytes = b"") -> str:
        final = self._hash.copy()
        final.update(more)
        return final.hexdigest()


def short(item: Any) -> str:
    """An event or a message in a few words."""
    values = (f"{name}={getattr(item, name)}" for name in _NAMES if getattr(item, name, None) is not None)
    return f"{type(item).__name__.removeprefix('_')}({', '.join(values)})"
