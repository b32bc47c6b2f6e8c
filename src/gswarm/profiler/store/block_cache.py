"""Rows that were read from segments, for the next question about the same metric and time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from gswarm.profiler.store.rows import Rows
from gswarm.profiler.store.segments import Segment


class BlockCache:
    """The rows of a segment's metric, those that were asked for last. Safe to use from several threads."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._mutex = threading.Lock()
        self._blocks: OrderedDict[tuple[Path, str], Rows] = OrderedDict()

    def get(self, segment: Segment, metric: str) -> Rows:
        """Raises CorruptDataError."""
        key = (segment.path, metric)
        with self._mutex:
            found = self._blocks.get(key)
            if found is not None:
                self._blocks.move_to_end(key)
                return found
        rows = segment.rows(metric)
        with self._mutex:
            if key not in self._blocks:
                self._blocks[key] = rows
                self._bytes += _size(rows)
            while self._bytes > self._bytes_max:
                self._bytes -= _size(self._blocks.popitem(last=False)[1])
        return rows

    def drop(self, path: Path) -> None:
        """A file that goes."""
        with self._mutex:
            for key in [key for key in self._blocks if key[0] == path]:
                self._bytes -= _size(self._blocks.pop(key))


def _size(rows: Rows) -> int:
    arrays = {id(array): array.nbytes for array in (rows.subject, rows.at_us, rows.total, rows.low, rows.high, rows.count)}
    return sum(arrays.values()) + 1000
