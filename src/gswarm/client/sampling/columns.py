"""Rows of values as the columns that travel, and columns as batches that fit into a message. Pure."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence

from gswarm.domain.samples import SampleColumns

CELL_BYTES = 8
BATCH_VALUES_MAX = 150_000
"""Values that one batch carries; the wire takes a little more."""


def column(device: str, owner: str, metrics: tuple[str, ...], rows: Sequence[tuple[float, tuple[float, ...]]]) -> SampleColumns:
    """``rows``: seconds since the epoch, and a value a metric."""
    times = array("q", (round(at_s * 1e6) for at_s, _values in rows))
    values = array("d", (row[index] for index in range(len(metrics)) for _at_s, row in rows))
    if sys.byteorder == "big":
        times.byteswap()
        values.byteswap()
    return SampleColumns(device, owner, metrics, times.tobytes(), values.tobytes())


def batches(columns: Iterable[SampleColumns]) -> Iterator[tuple[SampleColumns, ...]]:
    """The columns in groups that fit into one message; columns that are too long are cut."""
    group: list[SampleColumns] = []
    room = BATCH_VALUES_MAX
    for one in columns:
        for piece in _pieces(one):
            size = len(piece.values) // CELL_BYTES
            if size > room:
                yield tuple(group)
                group, room = [], BATCH_VALUES_MAX
            group.append(piece)
            room -= size
    if group:
        yield tuple(group)


def _pieces(columns: SampleColumns) -> Iterator[SampleColumns]:
    width, rows = len(columns.metrics), len(columns.times_us) // CELL_BYTES
    rows_max = max(1, BATCH_VALUES_MAX // width)
    if rows <= rows_max:
        yield columns
        return
    for begin in range(0, rows, rows_max):
        end = min(begin + rows_max, rows)
        values = b"".join(columns.values[(index * rows + begin) * CELL_BYTES : (index * rows + end) * CELL_BYTES] for index in range(width))
        times_us = columns.times_us[begin * CELL_BYTES : end * CELL_BYTES]
        yield SampleColumns(columns.device, columns.owner, columns.metrics, times_us, values)
