"""From a log to segments, and what is found after a restart. See ``parquet_store`` for why nothing is lost or doubled."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gswarm.domain.errors import CorruptDataError, GswarmError, StorageError
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import SampleBatch
from gswarm.profiler.store.batch_log import decode, read_log
from gswarm.profiler.store.checks import check_batch
from gswarm.profiler.store.frames import Head, Table, tables_of
from gswarm.profiler.store.known import Known
from gswarm.profiler.store.rows import US, Rows, bucketed, joined, merged
from gswarm.profiler.store.segments import COARSE_S, MEDIUM_S, Segment, flush, open_segment, write_raw, write_rollup
from gswarm.profiler.store.subjects import Registry

KNOWN_KEPT = 2
DAMAGED = "damaged"

_log = logging.getLogger("gswarm.profiler")
_NUMBER = re.compile(r"(log|known|raw|10s|5min)-(\d{12})(?:-\d+)?\.(bin|json|parquet)")


def log_path(root: Path, number: int) -> Path:
    return root / f"log-{number:012}.bin"


def _known_path(root: Path, number: int) -> Path:
    return root / f"known-{number:012}.json"


class Folder:
    """Writes segments. One thread at a time."""

    def __init__(self, root: Path, registry: Registry, clock: Callable[[], float]) -> None:
        self._root = root
        self._registry = registry
        self._clock = clock

    def fold(self, head: Head, known: bytes) -> list[Segment]:
        """The segments of a sealed head, on disk; they count once ``commit`` has returned. Raises StorageError."""
        tables = tables_of(head.views())
        segments = []
        if tables:
            written_s = self._clock()
            raw = write_raw(self._root, head.number, tables, self._registry, written_s)
            raw.tables = tables
            medium = [_rolled(table) for table in tables]
            coarse = [{metric: bucketed(rows, COARSE_S * US) for metric, rows in group.items()} for group in medium]
            segments = [
                raw,
                write_rollup(self._root, MEDIUM_S, head.number, medium, self._registry, written_s),
                write_rollup(self._root, COARSE_S, head.number, coarse, self._registry, written_s),
            ]
        _save(_known_path(self._root, head.number), known)
        return segments

    def commit(self, number: int) -> None:
        """The segments take the place of their log. Raises StorageError."""
        try:
            log_path(self._root, number).unlink(missing_ok=True)
            flush(self._root)
        except OSError as error:
            raise StorageError(f"the samples' log {number} cannot be removed: {error.strerror}", "look at the disk") from error
        for path in self._root.glob("known-*.json"):
            if _number_of(path) <= number - KNOWN_KEPT:
                self.remove(path)

    def merge(self, segments: Sequence[Segment]) -> Segment:
        """One segment in the place of several rollups of one resolution, the oldest first.

        It counts from the moment it has its name; what it took the place of may be removed then.

        Raises:
            CorruptDataError: one of them is damaged.
            StorageError: it cannot be written.
        """
        last = segments[-1]
        groups = []
        for metrics in sorted({metrics for segment in segments for metrics in segment.groups}):
            own = [segment for segment in segments if metrics in segment.groups]
            groups.append({metric: merged(joined([segment.rows(metric, metrics) for segment in own])) for metric in metrics})
        numbers = tuple(sorted({number for segment in segments for number in (segment.number, *segment.merges)}))
        written_s = max(segment.written_s for segment in segments)
        return write_rollup(self._root, last.resolution_s, last.number, groups, self._registry, written_s, numbers)

    def remove(self, path: Path) -> None:
        """As far as the disk lets us; what stays is found again after a restart."""
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def set_aside(self, path: Path) -> None:
        _set_aside(self._root, path)


def _rolled(table: Table) -> dict[str, Rows]:
    return {metric: bucketed(table.rows(metric), MEDIUM_S * US) for metric in table.metrics}


def _save(path: Path, data: bytes) -> None:
    """Under its name only once it is whole. Raises StorageError."""
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_bytes(data)
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {error.strerror}", "free some space") from error


def _set_aside(root: Path, path: Path) -> None:
    with suppress(OSError):
        (root / DAMAGED).mkdir(mode=0o700, exist_ok=True)
        path.replace(root / DAMAGED / path.name)


@dataclass(slots=True)
class OpenLog:
    """A log that was not folded."""

    root: Path
    number: int
    whole_bytes: int = 0
    """Where its last whole record ends, once ``batches`` is through."""

    def batches(self) -> Iterator[tuple[ClientName, SampleBatch]]:
        """What it holds, up to the first record that is not whole; what stands behind that is copied to the damaged files.

        Raises:
            StorageError: it cannot be read.
        """
        path = log_path(self.root, self.number)
        try:
            for place, payload in read_log(path):
                try:
                    client, batch = decode(payload)
                    check_batch(batch)
                except (GswarmError, ValueError, TypeError, KeyError) as error:
                    _log.warning("%s holds a record that is no batch: %s", path, error)
                    break
                self.whole_bytes = place
                yield client, batch
            self._keep_rest(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}", "look at the disk") from error

    def _keep_rest(self, path: Path) -> None:
        rest = path.stat().st_size - self.whole_bytes
        if not rest:
            return
        _log.warning("%s ends with %d bytes that are no whole batch, as after a kill; they are set aside", path, rest)
        with suppress(OSError):
            (self.root / DAMAGED).mkdir(mode=0o700, exist_ok=True)
            with path.open("rb") as file, (self.root / DAMAGED / path.name).open("wb") as aside:
                file.seek(self.whole_bytes)
                shutil.copyfileobj(file, aside)


@dataclass(slots=True)
class Recovered:
    """What a store finds in its folder."""

    registry: Registry
    known: Known
    segments: list[Segment] = field(default_factory=list)
    logs: list[OpenLog] = field(default_factory=list)
    """The oldest first."""
    next_number: int = 1


def recover(root: Path) -> Recovered:
    """Raises StorageError: the folder cannot be made, read or written."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in root.glob("*.tmp"):
            path.unlink()
        numbered = sorted((_number_of(path), path) for path in root.iterdir() if _NUMBER.fullmatch(path.name))
        logs = [number for number, path in numbered if path.suffix == ".bin"]
        # A fold whose log is still there was not finished: its files are made again from the log.
        for number, path in numbered:
            if logs and number >= logs[0] and path.suffix != ".bin":
                path.unlink()
        recovered = Recovered(Registry(), _newest_known(root), next_number=1 + max((number for number, _ in numbered), default=0))
    except OSError as error:
        raise StorageError(f"the sample store {root} cannot be opened: {error}", "look at the disk and the permissions") from error
    recovered.logs = [OpenLog(root, number) for number in logs]
    for path in sorted(root.glob("*.parquet")):
        try:
            recovered.segments.append(open_segment(path, recovered.registry))
        except CorruptDataError as error:
            _log.warning("%s; it is set aside", error)
            _set_aside(root, path)
    recovered.segments = _without_merged(recovered.segments)
    return recovered


def _without_merged(segments: Sequence[Segment]) -> list[Segment]:
    """What another segment took the place of goes: its removal was broken off."""
    kept = []
    for segment in segments:
        wholes = (one for one in segments if one is not segment and one.resolution_s == segment.resolution_s)
        if any(segment.number in one.merges and len(one.merges) > len(segment.merges) for one in wholes):
            with suppress(OSError):
                segment.path.unlink()
        else:
            kept.append(segment)
    return kept


def _newest_known(root: Path) -> Known:
    for path in sorted(root.glob("known-*.json"), reverse=True):
        try:
            return Known.decode(path.read_bytes())
        except (CorruptDataError, OSError) as error:
            _log.warning(
                "%s is %s; it is set aside, and batches since the one before it may be stored twice if they are sent again", path, error
            )
            _set_aside(root, path)
    return Known()


def _number_of(path: Path) -> int:
    found = _NUMBER.fullmatch(path.name)
    return int(found[2]) if found is not None else 0
