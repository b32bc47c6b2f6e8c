"""The series store on SQLite: small, durable, and quick for the training metrics of thousands of runs."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gswarm.domain.errors import CorruptDataError, IncompatibleVersionError, InvariantError, StorageError
from gswarm.domain.ids import RunId
from gswarm.domain.messages import StepMetrics
from gswarm.profiler.downsample import Point, downsample

METRICS_MAX = 10_000
"""How many different metric names a store takes."""
METRICS_PER_RUN_MAX = 500
METRIC_CHARS_MAX = 200

_VERSION = 1
_SCHEMA = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE metrics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE points (
    run INTEGER NOT NULL, metric INTEGER NOT NULL, step INTEGER NOT NULL,
    generation INTEGER NOT NULL, at_s REAL NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (run, metric, step)
) WITHOUT ROWID;
"""
_UPSERT = """
INSERT INTO points (run, metric, step, generation, at_s, value) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (run, metric, step) DO UPDATE SET generation = excluded.generation, at_s = excluded.at_s, value = excluded.value
WHERE excluded.generation >= points.generation
"""
_NAMES = """
SELECT name FROM metrics WHERE EXISTS (SELECT 1 FROM points WHERE run = (SELECT id FROM runs WHERE name = ?) AND metric = metrics.id)
ORDER BY name
"""
_METRICS_OF = "SELECT id FROM metrics WHERE EXISTS (SELECT 1 FROM points WHERE run = ? AND metric = metrics.id)"
_QUERY = """
SELECT step, value, at_s FROM points
WHERE run = (SELECT id FROM runs WHERE name = ?) AND metric = (SELECT id FROM metrics WHERE name = ?) AND step >= ? AND step <= ?
ORDER BY step
"""
# CROSS JOIN: in this order each value is one look-up; SQLite itself might read all points of the run.
_LATEST = """
SELECT metrics.name, points.step, points.value FROM runs CROSS JOIN metrics CROSS JOIN points
ON points.run = runs.id AND points.metric = metrics.id
AND points.step = (SELECT max(step) FROM points WHERE run = runs.id AND metric = metrics.id)
WHERE runs.name = ? ORDER BY metrics.name
"""
_STEP_MAX = (1 << 63) - 1


class SqliteSeriesStore:
    """A ``SeriesStore`` in one SQLite file (WAL).

    What cannot be stored is a gap, so that one bad value never holds up a stream: values or times that are not finite, steps out
    of range, over-long names and names beyond ``METRICS_MAX`` or ``METRICS_PER_RUN_MAX``. ``refused_values`` counts them.

    Args:
        path: the database file; made if it is missing.

    Raises:
        StorageError: the file cannot be made or written.
        CorruptDataError: it is no series database.
        IncompatibleVersionError: a newer gswarm wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._readers: deque[sqlite3.Connection] = deque()
        self._runs: dict[str, int] = {}
        self._metrics: dict[str, int] = {}
        self._metrics_of: dict[int, set[int]] = {}
        """By run, for the runs that were written to."""
        self._closed = False
        self.refused_values = 0
        with _typed_errors(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._writer = self._connect()
            try:
                self._prepare()
            except BaseException:
                self._writer.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        # Connections move between threads; each is used by one at a time.
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _prepare(self) -> None:
        self._writer.execute("PRAGMA journal_mode = WAL")
        with _transaction(self._writer):
            version = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise IncompatibleVersionError(f"{self._path} was written by a newer gswarm", "upgrade this one")
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._writer.execute(statement)
                self._writer.execute(f"PRAGMA user_version = {_VERSION}")
        self._metrics = dict(self._writer.execute("SELECT name, id FROM metrics"))

    def append(self, batch: Sequence[StepMetrics]) -> None:
        """Raises StorageError; then nothing of the batch is stored."""
        with self._writing, _typed_errors(self._path):
            self._check_open()
            try:
                with _transaction(self._writer):
                    self._writer.executemany(_UPSERT, self._rows(batch))
            except BaseException:
                # Names that were given ids in the lost transaction.
                self._runs.clear()
                self._metrics_of.clear()
                self._metrics = dict(self._writer.execute("SELECT name, id FROM metrics"))
                raise

    def _rows(self, batch: Sequence[StepMetrics]) -> list[tuple[int, int, int, int, float, float]]:
        rows = []
        for step in batch:
            run = self._run_id(step.run)
            storable = math.isfinite(step.at_s) and 0 <= step.step <= _STEP_MAX and 0 <= step.generation <= _STEP_MAX
            for name, value in step.values:
                metric = self._metric_id(run, name) if storable and math.isfinite(value) else None
                if metric is None:
                    self.refused_values += 1
                else:
                    rows.append((run, metric, step.step, step.generation, step.at_s, value))
        return rows

    def _run_id(self, name: RunId) -> int:
        found = self._runs.get(name)
        if found is None:
            self._writer.execute("INSERT OR IGNORE INTO runs (name) VALUES (?)", (name,))
            found = int(self._writer.execute("SELECT id FROM runs WHERE name = ?", (name,)).fetchone()[0])
            self._runs[name] = found
        return found

    def _metric_id(self, run: int, name: str) -> int | None:
        found = self._metrics.get(name)
        of_run = self._metrics_of.get(run)
        if of_run is None:
            of_run = self._metrics_of[run] = {metric for (metric,) in self._writer.execute(_METRICS_OF, (run,))}
        if found in of_run:
            return found
        if len(of_run) >= METRICS_PER_RUN_MAX:
            return None
        if found is None and len(self._metrics) < METRICS_MAX and 0 < len(name) <= METRIC_CHARS_MAX:
            found = self._writer.execute("INSERT INTO metrics (name) VALUES (?)", (name,)).lastrowid
            assert found is not None
            self._metrics[name] = found
        if found is not None:
            of_run.add(found)
        return found

    def metrics(self, run: RunId) -> list[str]:
        with self._reader() as reader:
            return [name for (name,) in reader.execute(_NAMES, (run,))]

    def query(self, run: RunId, metric: str, from_step: int = 0, to_step: int | None = None, points: int | None = None) -> list[Point]:
        """Steps ``from_step`` to ``to_step``, both included. Raises InvalidInputError for fewer than two points."""
        with self._reader() as reader:
            rows = reader.execute(_QUERY, (run, metric, from_step, _STEP_MAX if to_step is None else to_step)).fetchall()
        return rows if points is None else downsample(rows, points)

    def latest(self, run: RunId) -> dict[str, tuple[int, float]]:
        with self._reader() as reader:
            return {name: (step, value) for name, step, value in reader.execute(_LATEST, (run,))}

    def delete_run(self, run: RunId) -> None:
        with self._writing, _typed_errors(self._path):
            self._check_open()
            self._metrics_of.pop(self._runs.pop(run, 0), None)
            with _transaction(self._writer):
                self._writer.execute("DELETE FROM points WHERE run = (SELECT id FROM runs WHERE name = ?)", (run,))
                self._writer.execute("DELETE FROM runs WHERE name = ?", (run,))

    def close(self) -> None:
        """Idempotent. Whoever still reads finishes first."""
        with self._writing:
            self._closed = True
            self._writer.close()
            while self._readers:
                self._readers.popleft().close()

    def _check_open(self) -> None:
        if self._closed:
            raise InvariantError("the series store was used after it was closed")

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection of the calling thread's own for one query. There are as many as ever read at the same time."""
        self._check_open()
        with _typed_errors(self._path):
            try:
                reader = self._readers.popleft()
            except IndexError:
                reader = self._connect()
            try:
                yield reader
            finally:
                self._readers.append(reader)
                if self._closed:
                    self.close()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise StorageError(
            f"the series store {path} cannot be used: {error}", "check the disk's space and the file's permissions"
        ) from error
    except sqlite3.DatabaseError as error:
        raise CorruptDataError(f"the series store {path} is damaged: {error}", "restore it from a backup, or move it away") from error
