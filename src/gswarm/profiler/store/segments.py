"""Parquet files of samples and of rollups: each is written once, complete, and never changed.

A file holds every value of one fold of the log at one resolution. Its rows are ordered by subject and time; a row group holds subjects
that were measured with the same metrics, so times stand there once for all metrics. A rollup has four columns a metric.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gswarm.domain.errors import CorruptDataError, StorageError
from gswarm.domain.ids import ClientName
from gswarm.profiler.store.encodings import Encoding, Way, choose
from gswarm.profiler.store.frames import Table
from gswarm.profiler.store.rows import US, Rows, Subjects, joined, samples
from gswarm.profiler.store.sample_store import Times, Values
from gswarm.profiler.store.subjects import Registry

RAW, MEDIUM_S, COARSE_S = 0, 10, 300
RESOLUTIONS_S = (RAW, MEDIUM_S, COARSE_S)
NAMES = {RAW: "raw", MEDIUM_S: "10s", COARSE_S: "5min"}
ROW_GROUP_ROWS = 1_000_000
_LEVEL = 6
_VERSION = 1
_KEY, _CHECKSUM = b"gswarm", b"gswarm.crc32"
_FIELDS = ("total", "low", "high", "count")


def segment_name(resolution_s: int, number: int) -> str:
    return f"{NAMES[resolution_s]}-{number:012}.parquet"


@dataclass(slots=True)
class Segment:
    """A file on disk, by its footer.

    Attributes:
        number: of the log that it was made of.
        from_us, to_us: its oldest and newest time by the clients' clocks, both included (of a rollup the begin of its newest bucket).
        written_s: when it was made, in seconds since the epoch.
        groups: the metrics of each row group; ``group_rows`` its length.
        tables: its rows, as long as there is memory for them (raw ones only).
    """

    path: Path
    resolution_s: int
    number: int
    from_us: int
    to_us: int
    written_s: float
    values: int
    size_bytes: int
    groups: list[tuple[str, ...]]
    group_rows: list[int]
    subjects: Subjects
    """The registry's numbers of the subjects that the file numbers from 0 on."""
    encodings: dict[str, Encoding]
    merges: tuple[int, ...] = ()
    """Numbers of the segments that it took the place of."""
    tables: list[Table] | None = field(default=None, repr=False)
    counted: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)
    """What ``rows_by_subject`` has found."""

    def rows(self, metric: str, group: tuple[str, ...] | None = None) -> Rows:
        """All rows of one metric, or those that were measured together with the metrics of a group.

        Raises:
            CorruptDataError: the file is damaged.
        """
        if self.tables is not None:
            return joined([table.rows(metric) for table in self.tables if metric in table.metrics])
        places = [place for place, metrics in enumerate(self.groups) if metric in metrics and group in (None, metrics)]
        if not places:
            return joined([])
        names = [metric] if self.resolution_s == RAW else [f"{metric}.{name}" for name in _FIELDS]
        with damage_of(self.path), pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            table = file.read_row_groups(places, ["subject", "at_us", *names], use_threads=False)
            self._check_length(table, places)
            subject = self.subjects[table["subject"].to_numpy()]
            at_us = table["at_us"].to_numpy()
            columns = [self.encodings[name].to_values(table[name]) for name in names]
        if self.resolution_s == RAW:
            return samples(subject, at_us, columns[0])
        return Rows(subject, at_us, *columns)

    def rows_by_subject(self, place: int) -> NDArray[np.int64]:
        """How many rows of a row group each of ``subjects`` has. Raises CorruptDataError."""
        found = self.counted.get(place)
        if found is None:
            with damage_of(self.path), pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                table = file.read_row_group(place, ["subject"], use_threads=False)
                self._check_length(table, [place])
                found = np.bincount(table["subject"].to_numpy(), minlength=len(self.subjects))
            self.counted[place] = found
        return found

    def read_times(self, places: Sequence[int]) -> Iterator[tuple[int, Subjects, Times]]:
        """Subjects and times of row groups, without values. Raises CorruptDataError."""
        with damage_of(self.path), pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            for place in places:
                table = file.read_row_group(place, ["subject", "at_us"], use_threads=False)
                self._check_length(table, [place])
                yield place, self.subjects[table["subject"].to_numpy()], table["at_us"].to_numpy()

    def _check_length(self, table: Any, places: Sequence[int]) -> None:
        """Parquet's own footer has no checksum. Raises ValueError."""
        rows = sum(self.group_rows[place] for place in places)
        if table.num_rows != rows:
            raise ValueError(f"{table.num_rows} rows of {rows}")

    def read_tables(self) -> Iterator[Table]:
        """All rows of a raw segment, row group by row group. Raises CorruptDataError."""
        if self.tables is not None:
            yield from self.tables
            return
        with damage_of(self.path), pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            for place, metrics in enumerate(self.groups):
                table = file.read_row_group(place, ["subject", "at_us", *metrics], use_threads=False)
                self._check_length(table, [place])
                values = np.stack([self.encodings[name].to_values(table[name]) for name in metrics])
                yield Table(metrics, self.subjects[table["subject"].to_numpy()], table["at_us"].to_numpy(), values)


@contextmanager
def damage_of(path: Path) -> Iterator[None]:
    """What pyarrow says about a damaged file, as CorruptDataError."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise CorruptDataError(f"the segment {path} is damaged: {error}", "the store goes on without it") from error


def write_raw(directory: Path, number: int, tables: Sequence[Table], registry: Registry, written_s: float) -> Segment:
    """Raises StorageError; then there is no file."""
    groups = [(table.metrics, table.subject, table.at_us, dict(zip(table.metrics, table.values, strict=True))) for table in tables]
    return _write(directory, RAW, number, groups, registry, written_s)


def merged_name(resolution_s: int, number: int, count: int) -> str:
    return f"{NAMES[resolution_s]}-{number:012}-{count}.parquet"


def write_rollup(
    directory: Path,
    resolution_s: int,
    number: int,
    groups: Sequence[dict[str, Rows]],
    registry: Registry,
    written_s: float,
    merges: tuple[int, ...] = (),
) -> Segment:
    """Each group holds rows of the same subjects and times, by metric. Raises StorageError; then there is no file."""
    columns = []
    for group in groups:
        first = next(iter(group.values()))
        values = {
            f"{metric}.{name}": column
            for metric, rows in group.items()
            for name, column in zip(_FIELDS, (rows.total, rows.low, rows.high, rows.count), strict=True)
        }
        columns.append((tuple(group), first.subject, first.at_us, values))
    return _write(directory, resolution_s, number, columns, registry, written_s, merges)


_Group = tuple[tuple[str, ...], Subjects, Any, dict[str, Values]]


def _write(
    directory: Path,
    resolution_s: int,
    number: int,
    groups: Sequence[_Group],
    registry: Registry,
    written_s: float,
    merges: tuple[int, ...] = (),
) -> Segment:
    local, subjects = _numbered(groups)
    names = sorted({name for _, _, _, values in groups for name in values})
    encodings = {name: choose(np.concatenate([values[name] for _, _, _, values in groups if name in values])) for name in names}
    segment = Segment(
        path=directory / (merged_name(resolution_s, number, len(merges)) if merges else segment_name(resolution_s, number)),
        resolution_s=resolution_s,
        number=number,
        from_us=min(int(at_us.min()) for _, _, at_us, _ in groups),
        to_us=max(int(at_us.max()) for _, _, at_us, _ in groups),
        written_s=written_s,
        values=sum(len(values) * len(at_us) for _, _, at_us, values in groups),
        size_bytes=0,
        groups=[],
        group_rows=[],
        subjects=subjects,
        encodings=encodings,
        merges=merges,
    )
    pieces = [(metrics, piece, at_us[piece], values) for metrics, _, at_us, values in groups for piece in _pieces(len(at_us))]
    segment.groups = [metrics for metrics, *_ in pieces]
    segment.group_rows = [len(at_us) for _, _, at_us, _ in pieces]
    temporary = segment.path.with_suffix(".tmp")
    locals_of = {id(values): numbers for (_, _, _, values), numbers in zip(groups, local, strict=True)}
    try:
        with _writer(temporary, segment, registry) as writer:
            for _, piece, at_us, values in pieces:
                arrays = [
                    encodings[name].to_arrow(values[name][piece])
                    if name in values
                    else pa.nulls(len(at_us), writer.schema.field(name).type)
                    for name in names
                ]
                columns = [pa.array(locals_of[id(values)][piece], pa.int32()), pa.array(at_us, pa.int64()), *arrays]
                writer.write_table(pa.Table.from_arrays(columns, schema=writer.schema), row_group_size=ROW_GROUP_ROWS)
        flush(temporary)
        temporary.replace(segment.path)
        flush(directory)
        segment.size_bytes = segment.path.stat().st_size
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(f"the segment {segment.path} cannot be written: {error}", "free some space") from error
    return segment


def _pieces(length: int) -> list[slice]:
    return [slice(begin, min(begin + ROW_GROUP_ROWS, length)) for begin in range(0, length, ROW_GROUP_ROWS)]


def _numbered(groups: Sequence[_Group]) -> tuple[list[Subjects], Subjects]:
    """The groups' subjects numbered from 0 on, and the registry's numbers behind them."""
    subjects = np.unique(np.concatenate([subject for _, subject, _, _ in groups]))
    return [np.searchsorted(subjects, subject).astype(np.int32) for _, subject, _, _ in groups], subjects.astype(np.int32)


def _writer(path: Path, segment: Segment, registry: Registry) -> Any:
    document = {
        "version": _VERSION,
        "number": segment.number,
        "resolution_s": segment.resolution_s,
        "from_us": segment.from_us,
        "to_us": segment.to_us,
        "written_s": segment.written_s,
        "values": segment.values,
        "groups": segment.groups,
        "group_rows": segment.group_rows,
        "merges": segment.merges,
        "subjects": [registry.subject(int(number)) for number in segment.subjects],
        "encodings": {name: [encoding.way, encoding.scale, encoding.step] for name, encoding in segment.encodings.items()},
    }
    columns = [pa.field("subject", pa.int32()), pa.field("at_us", pa.int64())]
    ways = {name: encoding.way for name, encoding in segment.encodings.items()}
    columns += [pa.field(name, pa.int64() if way is Way.INTEGERS else pa.float64()) for name, way in ways.items()]
    encodings = {"at_us": "DELTA_BINARY_PACKED"}
    encodings |= {name: "DELTA_BINARY_PACKED" for name, way in ways.items() if way is Way.INTEGERS}
    encodings |= {name: "BYTE_STREAM_SPLIT" for name, way in ways.items() if way is Way.BYTES}
    writer = pq.ParquetWriter(
        path,
        pa.schema(columns),
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=["subject", *(name for name, way in ways.items() if way is Way.DICTIONARY)],
        column_encoding=encodings,
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
    )
    text = json.dumps(document).encode()
    writer.add_key_value_metadata({_KEY: text, _CHECKSUM: b"%08x" % zlib.crc32(text)})
    return writer


def open_segment(path: Path, registry: Registry) -> Segment:
    """Reads the footer.

    Raises:
        CorruptDataError: it is no segment, or a damaged one.
    """
    with damage_of(path):
        footer = pq.read_metadata(path).metadata
        if int(footer[_CHECKSUM], 16) != zlib.crc32(footer[_KEY]):
            raise ValueError("its checksum is another")
        document = json.loads(footer[_KEY])
        if document["version"] != _VERSION:
            raise ValueError(f"its version is {document['version']}")
        numbers = [registry.number(ClientName(client), device, owner) for client, device, owner in document["subjects"]]
        return Segment(
            path=path,
            resolution_s=RESOLUTIONS_S[RESOLUTIONS_S.index(document["resolution_s"])],
            number=int(document["number"]),
            from_us=int(document["from_us"]),
            to_us=int(document["to_us"]),
            written_s=float(document["written_s"]),
            values=int(document["values"]),
            size_bytes=path.stat().st_size,
            groups=[tuple(metrics) for metrics in document["groups"]],
            group_rows=[int(rows) for rows in document["group_rows"]],
            subjects=np.array(numbers, np.int32),
            encodings={name: Encoding(Way(way), scale, step) for name, (way, scale, step) in document["encodings"].items()},
            merges=tuple(document["merges"]),
        )


def flush(path: Path) -> None:
    """A file or folder to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def newest_bucket_us(segment: Segment) -> int:
    """Where its time ends, not included."""
    return segment.to_us + max(segment.resolution_s * US, 1)
