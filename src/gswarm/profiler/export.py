"""All samples of a range as CSV, JSON or Parquet, piece by piece, so that memory holds one piece at a time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from gswarm.domain.ids import ClientName
from gswarm.profiler.answer_json import numbers
from gswarm.profiler.catalog import BY_NAME
from gswarm.profiler.store.counting import Wanted
from gswarm.profiler.store.frames import Table
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.rows import US, group_starts
from gswarm.profiler.store.subjects import Subject

PIECE_ROWS = 50_000
_SCHEMA = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),
        ("client", pa.string()),
        ("device", pa.string()),
        ("owner", pa.string()),
        ("metric", pa.string()),
        ("unit", pa.string()),
        ("value", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Seconds since the epoch, both included; no metrics or clients means all."""

    from_s: float
    to_s: float
    metrics: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()

    def has(self, client: ClientName) -> bool:
        return not self.clients or client in self.clients


def selected_tables(store: ParquetSampleStore, selection: Selection) -> Iterator[tuple[Table, list[Subject]]]:
    """The tables of the range with what is selected, and what their subjects' numbers mean."""
    for table in store.tables(selection.from_s, selection.to_s):
        subjects = store.subject_names()
        kept = [place for place, metric in enumerate(table.metrics) if not selection.metrics or metric in selection.metrics]
        rows = np.array([selection.has(client) for client, _, _ in subjects], np.bool_)[table.subject]
        if kept and rows.any():
            metrics = tuple(table.metrics[place] for place in kept)
            whole = len(kept) == len(table.metrics) and bool(rows.all())
            yield (
                table if whole else Table(metrics, table.subject[rows], table.at_us[rows], table.values[kept][:, rows]),
                subjects,
            )


def count_values(store: ParquetSampleStore, selection: Selection) -> int:
    """Values of the selection, also those that are n/a: as many as an export has."""
    clients = frozenset(map(ClientName, selection.clients))
    return store.count(Wanted(selection.from_s, selection.to_s, selection.metrics, clients))


def csv_pieces(store: ParquetSampleStore, selection: Selection) -> Iterator[bytes]:
    """One line a value: at, client, device, owner, metric, unit, value. An empty value is n/a."""
    yield (",".join(f'"{name}"' for name in _SCHEMA.names) + "\n").encode()
    options = pyarrow.csv.WriteOptions(include_header=False)
    for piece in _long(store, selection):
        sink = io.BytesIO()
        pyarrow.csv.write_csv(_harmless(piece), sink, options)
        yield sink.getvalue()


def parquet_pieces(store: ParquetSampleStore, selection: Selection) -> Iterator[bytes]:
    """The same columns as the CSV; null is n/a."""
    sink = _Pipe()
    with pq.ParquetWriter(sink, _SCHEMA, compression="zstd") as writer:
        for piece in _long(store, selection):
            writer.write_table(piece)
            yield sink.drain()
    yield sink.drain()


def json_pieces(store: ParquetSampleStore, selection: Selection, name: str) -> Iterator[bytes]:
    """``{name, from, to, series: [{client, device, owner, metric, unit, at, values}]}``; a series may come in several pieces."""
    head = json.dumps({"name": name, "from": selection.from_s, "to": selection.to_s})
    yield head[:-1].encode() + b', "series": ['
    between = b""
    for table, subjects in selected_tables(store, selection):
        starts = group_starts(table.subject)
        for start, end in zip(starts, [*starts[1:], len(table.subject)], strict=True):
            client, device, owner = subjects[int(table.subject[start])]
            at = numbers(table.at_us[start:end] / US)
            for metric, values in zip(table.metrics, table.values, strict=True):
                names = {"client": client, "device": device, "owner": owner, "metric": metric, "unit": BY_NAME[metric].unit}
                item = json.dumps(names)[:-1].encode()
                yield between + item + b', "at": [' + at + b'], "values": [' + numbers(values[start:end]) + b"]}"
                between = b",\n"
    yield b"]}"


def _long(store: ParquetSampleStore, selection: Selection) -> Iterator[pa.Table]:
    for table, subjects in selected_tables(store, selection):
        for begin in range(0, len(table.at_us), PIECE_ROWS):
            part = slice(begin, begin + PIECE_ROWS)
            numbers_, places = np.unique(table.subject[part], return_inverse=True)
            index = pa.array(places.astype(np.int32))
            names = [pa.array([subjects[int(number)][field] for number in numbers_], pa.string()).take(index) for field in range(3)]
            at = pa.array(table.at_us[part], _SCHEMA.field("at").type)
            for metric, values in zip(table.metrics, table.values, strict=True):
                own = values[part]
                texts = [
                    pa.array([text], pa.string()).take(pa.array(np.zeros(len(own), np.int32))) for text in (metric, BY_NAME[metric].unit)
                ]
                yield pa.Table.from_arrays([at, *names, *texts, pa.array(own, pa.float64(), from_pandas=True)], schema=_SCHEMA)


def _harmless(piece: pa.Table) -> pa.Table:
    """A spreadsheet takes what begins so for a formula; names from elsewhere get an apostrophe before it."""
    for place, name in ((1, "client"), (2, "device"), (3, "owner")):
        texts = pa.compute.replace_substring_regex(piece[name], pattern=r"^([=+\-@\t\r])", replacement=r"'\1")
        piece = piece.set_column(place, name, texts)
    return piece


class _Pipe(io.RawIOBase):
    """What was written since the last look."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._written

    def drain(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data
