"""The sample store: a log and tables in memory for what is new, Parquet segments with rollups for the rest.

A batch is in the log and in the head's frames when ``append`` returns. When the log is full or old it is folded: the frames become one
raw segment and two of rollups, and the log goes. A fold counts once its log is gone; until then a restart removes the fold's files and
plays the log again. So there is no moment at which a kill loses or doubles anything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gswarm.domain.errors import CorruptDataError, InvariantError, StorageError
from gswarm.domain.ids import ClientName
from gswarm.domain.samples import MACHINE, DeviceInfo, SampleBatch, SampleColumns, SeriesKey
from gswarm.profiler import query as asked
from gswarm.profiler.store import counting, span_sums
from gswarm.profiler.store.batch_log import BatchLog, encode
from gswarm.profiler.store.block_cache import BlockCache
from gswarm.profiler.store.checks import Columns, check_batch
from gswarm.profiler.store.compaction import Folder, Recovered, log_path, recover
from gswarm.profiler.store.counting import Wanted
from gswarm.profiler.store.frames import Frame, Head, Table, tables_of
from gswarm.profiler.store.known import OFFSET_MAX_S, Clock, Known, host_times
from gswarm.profiler.store.latest import Latest
from gswarm.profiler.store.merging import mergeable
from gswarm.profiler.store.rows import US, Rows, joined
from gswarm.profiler.store.sample_store import SampleAnswer, SampleQuery
from gswarm.profiler.store.segments import COARSE_S, MEDIUM_S, RAW, Segment, newest_bucket_us
from gswarm.profiler.store.span_sums import SpanSum, Tenures
from gswarm.profiler.store.store_limits import Counts, StoreLimits

CLIENTS_MAX = 10_000
SERIES_PER_CLIENT_MAX = 20_000
"""Of one log: what a client measures at about the same time."""
SEALED_MAX = 4
"""Logs that wait for being folded, as on a full disk; then batches are refused, and wait in the clients' spools."""
FOLD_RETRY_S = 30.0
LATEST_AGE_MAX_S = 86400.0

_log = logging.getLogger("gswarm.profiler")


class ParquetSampleStore:
    """A ``SampleStore`` in a folder. Safe to use from several threads.

    Args:
        root: its folder; made if it is missing.
        clock: seconds since the epoch.
        fold_in_background: otherwise ``fold`` is called by the owner.
        fold_retry_s: what could not be folded is tried again after so long, or with the next log that is full.

    Raises:
        StorageError: the folder cannot be made or written.
    """

    def __init__(
        self,
        root: Path,
        limits: StoreLimits | None = None,
        clock: Callable[[], float] = time.time,
        *,
        fold_in_background: bool = True,
        fold_retry_s: float = FOLD_RETRY_S,
    ) -> None:
        self._root = root
        self._fold_retry_s = fold_retry_s
        self._limits = limits or StoreLimits()
        self._clock = clock
        self._mutex = threading.RLock()
        self._latest = Latest()
        self._closed = False
        self.counts = Counts()
        self._refused_told = 0
        self._cache = BlockCache(self._limits.memory_bytes_max // 2)
        recovered: Recovered = recover(root)
        self._registry = recovered.registry
        self._known: Known = recovered.known
        self._latest.restore(self._known.latest, self._registry)
        self._segments: list[Segment] = recovered.segments
        self._folder = Folder(root, self._registry, clock)
        self._sealed: list[tuple[Head, BatchLog]] = []
        self._leaving: list[Path] = []
        for log in recovered.logs:
            self._head = Head(log.number)
            for client, batch in log.batches():
                self._take(client, batch, check_batch(batch))
            self._sealed.append((self._head, BatchLog(log_path(root, log.number), log.whole_bytes)))
        if self._sealed:
            self._head, self._log = self._sealed.pop()
        else:
            self._head = Head(recovered.next_number)
            self._log = BatchLog(log_path(root, self._head.number))
        self._work = threading.Condition(self._mutex)
        self._thread: threading.Thread | None = None
        if fold_in_background:
            self._thread = threading.Thread(target=self._fold_always, name="sample-store", daemon=True)
            self._thread.start()
        else:
            self.fold_sealed()

    # ---- writing -----------------------------------------------------------------------------------------------------

    def append(self, client: ClientName, batch: SampleBatch) -> None:
        columns = check_batch(batch)
        payload = encode(client, batch)
        with self._mutex:
            self._check_open()
            if self._known.has(client, batch.spool, batch.seq):
                self.counts.duplicates += 1
                return
            if client not in self._known.spools and len(self._known.spools) >= CLIENTS_MAX:
                raise StorageError(f"the sample store has samples of {CLIENTS_MAX} clients already", "use names of clients again")
            self._make_room()
            self._log.append(payload)
            self._take(client, batch, columns)

    def flush(self) -> None:
        with self._mutex:
            logs = [*(log for _, log in self._sealed), self._log]
        for log in logs:
            log.flush()

    def _make_room(self) -> None:
        """Seals a head that is full or old."""
        opened_s = self._head.opened_s
        is_old = opened_s is not None and self._clock() - opened_s >= self._limits.fold_age_s
        if self._log.size_bytes >= self._limits.fold_bytes or is_old:
            if len(self._sealed) >= SEALED_MAX:
                raise StorageError("the sample store cannot write its segments", "free some space; the host's log says more")
            self.seal()

    def seal(self) -> None:
        """What came so far waits to be folded; nothing happens without a batch."""
        with self._mutex:
            if self._head.opened_s is None:
                return
            number = self._head.number + 1
            log = BatchLog(log_path(self._root, number))
            self._sealed.append((self._head, self._log))
            self._head, self._log = Head(number), log
            self._work.notify_all()

    def _take(self, client: ClientName, batch: SampleBatch, columns: Sequence[Columns]) -> None:
        """A batch that is in the log, into memory. The same for a batch that the log gives back."""
        head, counts = self._head, self.counts
        if head.opened_s is None:
            head.opened_s = self._clock()
        self._known.add(client, batch.spool, batch.seq)
        counts.batches += 1
        seen_s = max((int(column.at_us[-1]) for column in columns), default=0) / US
        counts.refused += self._known.describe(client, batch.devices, seen_s or self._clock())
        for column in (*columns, *self._offset(client, batch, columns)):
            counts.infinite += column.infinite
            counts.unknown += column.unknown
            frame = self._frame(client, column)
            if frame is None:
                counts.refused += column.values.size
                continue
            frame.add(column.at_us, column.values)
            counts.values += column.values.size
            head.values += column.values.size
            head.from_us, head.to_us = min(head.from_us, int(column.at_us.min())), max(head.to_us, int(column.at_us.max()))
            self._latest.take(frame.subject, column.metrics, column.at_us, column.values)
            self._known.saw(client, column.device, int(column.at_us[-1]) / US)

    def _frame(self, client: ClientName, column: Columns) -> Frame | None:
        """``None`` where it would be one too many."""
        if not column.metrics or not self._registry.has_room_for(client, column.device, column.owner):
            return None
        subject = self._registry.number(client, column.device, column.owner)
        frame = self._head.frames.get((subject, column.metrics))
        if frame is None:
            series = self._head.series.get(client, 0) + len(column.metrics)
            if series > SERIES_PER_CLIENT_MAX:
                return None
            self._head.series[client] = series
            frame = self._head.frames[subject, column.metrics] = Frame(subject, column.metrics)
        return frame

    def _offset(self, client: ClientName, batch: SampleBatch, columns: Sequence[Columns]) -> list[Columns]:
        """The measured offset of the client's clock as a series of its own."""
        offset_s, error_s = batch.clock_offset_s, batch.clock_error_s or 0.0
        if offset_s is None or not columns or not abs(offset_s) <= OFFSET_MAX_S or not 0 <= error_s <= OFFSET_MAX_S:
            return []
        at_us = max(int(column.at_us[-1]) for column in columns)
        self._known.clocks.setdefault(client, Clock()).measured(min(int(column.at_us.min()) for column in columns), offset_s, error_s)
        times, values = np.array([at_us], "<i8").tobytes(), np.array([offset_s]).tobytes()
        return check_batch(SampleBatch(batch.spool, batch.seq, (SampleColumns(MACHINE, "", ("clock_offset",), times, values),)))

    # ---- folding -----------------------------------------------------------------------------------------------------

    def _fold_always(self) -> None:
        while True:
            with self._mutex:
                self._work.wait_for(lambda: self._sealed or self._closed)
                if self._closed:
                    return
            try:
                self.fold_sealed()
            except Exception as error:
                # Whatever it is: without this thread nothing would be folded until the next start, and nobody would know.
                _log.warning("samples wait in their logs: %s", error, exc_info=None if isinstance(error, StorageError) else error)
                with self._mutex:
                    waiting = len(self._sealed)
                    # With SEALED_MAX logs there is no next one: without a time nobody would ever try again.
                    self._work.wait_for(lambda waiting=waiting: self._closed or len(self._sealed) > waiting, self._fold_retry_s)  # type: ignore[misc]

    def fold(self) -> None:
        """Everything so far into segments, then what is too old or too much goes. Raises StorageError."""
        self.seal()
        self.fold_sealed()

    def fold_sealed(self) -> None:
        """Raises StorageError; what could not be folded waits on."""
        while True:
            with self._mutex:
                if not self._sealed:
                    break
                head, log = self._sealed[0]
                known = self._known.encode(self._latest.encode(self._registry))
            segments = self._folder.fold(head, known)
            with self._mutex:
                self._folder.commit(head.number)
                self._sealed.pop(0)
                self._segments += segments
                log.close()
                self._work.notify_all()
            self._keep_in_memory()
        for path in self._leaving:
            self._folder.remove(path)
        self._leaving.clear()
        for resolution_s in (MEDIUM_S, COARSE_S):
            self._merge(resolution_s)
        self.retire()

    def _merge(self, resolution_s: int) -> None:
        """Several small rollups become a larger one, so that a chart of weeks reads few files."""
        while True:
            with self._mutex:
                rollups = sorted((one for one in self._segments if one.resolution_s == resolution_s), key=lambda one: one.number)
            chosen = mergeable(rollups)
            if not chosen:
                return
            try:
                made = self._folder.merge(chosen)
            except CorruptDataError as error:
                _log.warning("%s", error)
                return
            with self._mutex:
                self._segments = [one for one in self._segments if one not in chosen] + [made]
            for segment in chosen:
                self._cache.drop(segment.path)
                # Whoever has just begun to read goes on; the files go with the next fold, or when the store is opened again.
                self._leaving.append(segment.path)

    def _keep_in_memory(self) -> None:
        """The newest raw tables stay in memory, as many as there is room for."""
        with self._mutex:
            room = self._limits.memory_bytes_max // 2
            for segment in sorted((one for one in self._segments if one.tables is not None), key=lambda one: -one.number):
                room -= sum(table.nbytes for table in segment.tables or ())
                if room < 0:
                    segment.tables = None

    def retire(self) -> None:
        """What is too old goes, and what is too much, raw values first, oldest first."""
        with self._mutex:
            now_s = self._clock()
            gone = [one for one in self._segments if _newest_s(one) < now_s - self._limits.retention_s(one.resolution_s)]
            kept = [one for one in self._segments if one not in gone]
            over = sum(one.size_bytes for one in kept) - self._limits.disk_bytes_max
            for segment in sorted(kept, key=lambda one: (one.resolution_s, _newest_s(one))):
                if over <= 0:
                    break
                over -= segment.size_bytes
                gone.append(segment)
            self._segments = [one for one in self._segments if one not in gone]
            self._latest.forget_before(round((now_s - LATEST_AGE_MAX_S) * US))
            self._known.forget_before(now_s - self._limits.raw_retention_s)
            refused, self._refused_told = self.counts.refused - self._refused_told, self.counts.refused
        if refused:
            _log.warning("%d values and devices of clients were left out: there are more names than the sample store takes", refused)
        for segment in gone:
            self._cache.drop(segment.path)
            self._folder.remove(segment.path)

    # ---- reading -----------------------------------------------------------------------------------------------------

    def devices(self) -> list[tuple[ClientName, DeviceInfo, float]]:
        with self._mutex:
            return [(client, device, at_s) for (client, _), (device, at_s) in sorted(self._known.devices.items(), key=lambda item: item[0])]

    def latest(self) -> dict[SeriesKey, tuple[float, float]]:
        with self._mutex:
            return self._latest.values(self._registry)

    def query(self, query: SampleQuery) -> SampleAnswer:
        asked.check_query(query)
        with self._mutex:
            self._check_open()
            subjects = self._registry.subjects()
        wanted = asked.selected(query, subjects)
        width_s = self._resolution(query, wanted)
        series = []
        step_s = 0.0
        for metric in query.metrics:
            reach_s = asked.reach_s(query, metric, width_s)
            rows = self._rows(metric, query.from_s - reach_s, query.to_s + reach_s, width_s, wanted)
            own_step_s, found = asked.lines(query, metric, rows, width_s, subjects, self._clock())
            step_s = max(step_s, own_step_s)
            series += found
        return SampleAnswer(query.from_s, query.to_s, step_s, tuple(series))

    def _resolution(self, query: SampleQuery, wanted: NDArray[np.bool_]) -> int:
        kept_s = {width: self._clock() - self._limits.retention_s(width) for width in (RAW, MEDIUM_S, COARSE_S)}
        from_us, to_us = round(query.from_s * US), round(query.to_s * US)
        with self._mutex:
            rows = counting.rows_to_read(self._segments, self._heads(), query.metrics[0], wanted, from_us, to_us)
        return asked.resolution(query, rows, kept_s)

    def _rows(self, metric: str, from_s: float, to_s: float, width_s: int, wanted: NDArray[np.bool_]) -> Rows:
        """Of wanted subjects, by the host's clock; some may lie outside of the range."""
        with self._mutex:
            clocks, from_us, to_us = self._clocks(from_s, to_s)
            parts = [rows for head in self._heads() if head.from_us <= to_us and head.to_us >= from_us for rows in head.rows(metric)]
            segments = [
                one for one in self._segments if one.resolution_s == width_s and one.from_us <= to_us and newest_bucket_us(one) > from_us
            ]
        parts = [rows for rows in parts if wanted[rows.subject[0]]]
        for segment in segments:
            rows = self._read(segment, metric)
            parts.append(rows.take(wanted[rows.subject]))
        rows = joined(parts)
        return replace(rows, at_us=host_times(rows.subject, rows.at_us, clocks, self._registry.subjects()))

    def _read(self, segment: Segment, metric: str) -> Rows:
        """A damaged file is set aside; what it held is a gap."""
        if segment.tables is not None:
            return segment.rows(metric)
        try:
            return self._cache.get(segment, metric)
        except CorruptDataError as error:
            with self._mutex:
                self._segments = [one for one in self._segments if one is not segment]
            if segment.path.exists():
                _log.warning("%s; it is set aside", error)
                self._folder.set_aside(segment.path)
            return joined([])

    def _clocks(self, from_s: float, to_s: float) -> tuple[dict[ClientName, Clock], int, int]:
        """Clocks that differ from the host's, and the range, in microseconds, in which all clients' times of it lie."""
        clocks = {client: replace(clock) for client, clock in self._known.clocks.items() if any(clock.shift_us)}
        slack_us = max((abs(shift) for clock in clocks.values() for shift in clock.shift_us), default=0)
        return clocks, round(from_s * US) - slack_us, round(to_s * US) + slack_us

    def count(self, wanted: Wanted) -> int:
        """Values, also those that are n/a. Of files that lie in the range no times are read, and of no file values."""
        with self._mutex:
            clocks, from_us, to_us = self._clocks(wanted.from_s, wanted.to_s)
            inner_us = 2 * (round(wanted.from_s * US) - from_us)
            subjects = self._registry.subjects()
            segments = [one for one in self._segments if one.resolution_s == RAW and one.from_us <= to_us and one.to_us >= from_us]
            views = [view for head in self._heads() if head.from_us <= to_us and head.to_us >= from_us for view in head.views()]
        mask = wanted.mask(subjects)
        times = partial(host_times, clocks=clocks, subjects=subjects)
        found = counting.in_memory(views, wanted, mask, times)
        for segment in segments:
            is_inside = segment.from_us >= from_us + inner_us and segment.to_us <= to_us - inner_us
            try:
                found += counting.in_whole(segment, wanted, mask) if is_inside else counting.in_part(segment, wanted, mask, times)
            except CorruptDataError as error:
                _log.warning("%s", error)
        return found

    def tables(self, from_s: float, to_s: float) -> Iterator[Table]:
        """All samples of a range by the host's clock, piece by piece; a subject may come in several pieces. For exports."""
        with self._mutex:
            clocks, from_us, to_us = self._clocks(from_s, to_s)
            segments = [one for one in self._segments if one.resolution_s == RAW and one.from_us <= to_us and one.to_us >= from_us]
            views = [view for head in self._heads() if head.from_us <= to_us and head.to_us >= from_us for view in head.views()]
        for segment in sorted(segments, key=lambda one: one.number):
            try:
                for table in segment.read_tables():
                    yield self._in_range(table, from_s, to_s, clocks)
            except CorruptDataError as error:
                _log.warning("%s", error)
        for table in tables_of(views):
            yield self._in_range(table, from_s, to_s, clocks)

    def _in_range(self, table: Table, from_s: float, to_s: float, clocks: Mapping[ClientName, Clock]) -> Table:
        at_us = host_times(table.subject, table.at_us, clocks, self._registry.subjects())
        chosen = (at_us >= from_s * US) & (at_us <= to_s * US)
        if chosen.all():
            return replace(table, at_us=at_us)
        return Table(table.metrics, table.subject[chosen], at_us[chosen], table.values[:, chosen])

    def _heads(self) -> list[Head]:
        return [head for head, _ in self._sealed] + [self._head]

    def sums(self, metric: str, tenures: Tenures, from_s: float, to_s: float) -> Iterator[SpanSum]:
        """What a metric came to on each device for each run that had it."""
        with self._mutex:
            subjects = self._registry.subjects()
        query = SampleQuery((metric,), from_s, to_s, spans=())
        wanted = tenures.selected(subjects)
        width_s = self._resolution(query, wanted)
        return span_sums.sums(self._rows(metric, from_s, to_s, width_s, wanted), width_s, subjects, tenures, from_s, to_s)

    def subject_names(self) -> list[tuple[ClientName, str, str]]:
        """(client, device, owner) by the numbers in ``tables``."""
        with self._mutex:
            return self._registry.subjects()

    def size_bytes(self) -> int:
        """Of the segments and logs on disk."""
        with self._mutex:
            return sum(one.size_bytes for one in self._segments) + sum(log.size_bytes for _, log in self._sealed) + self._log.size_bytes

    def close(self) -> None:
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            self._work.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._log.close()
        for _, log in self._sealed:
            log.close()

    def _check_open(self) -> None:
        if self._closed:
            raise InvariantError("the sample store was used after it was closed")


def _newest_s(segment: Segment) -> float:
    """A clock that runs ahead keeps nothing for ever."""
    return min(segment.to_us / US, segment.written_s)
