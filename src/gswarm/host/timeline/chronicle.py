"""What happened when, for charts: who had which slot, and the moments worth a mark. Follows the journal, which keeps less of the past."""

from __future__ import annotations

import asyncio
import heapq
import logging
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gswarm.domain.errors import GswarmError, InvalidInputError, StorageError
from gswarm.domain.ids import ExperimentId, RunId, SlotId
from gswarm.host.event_text import describe
from gswarm.host.journal.protocol import JournalEntry
from gswarm.host.loop import PlanLoop
from gswarm.host.timeline import chunk_book, slot_book
from gswarm.host.timeline.chunk_book import ChunkBook, ChunkTime
from gswarm.host.timeline.slot_book import Asked, SlotBook, SlotSpan
from gswarm.scheduler import events as e
from gswarm.scheduler.events import Event

NOTES_MAX = 1_000_000
CHUNKS_MAX = 1_000_000
"""The oldest go when the host starts."""
NOTES_ANSWER_MAX = 5_000
SPANS_ANSWER_MAX = 100_000
WRITE_DELAY_S = 0.5
TEXT_CHARS_MAX = 500

_log = logging.getLogger("gswarm.host.chronicle")
_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS notes (
    seq INTEGER NOT NULL, part INTEGER NOT NULL, at_s REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    experiment TEXT, run TEXT, client TEXT, PRIMARY KEY (seq, part)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS notes_by_time ON notes (at_s);
CREATE INDEX IF NOT EXISTS notes_by_kind ON notes (kind, at_s);
CREATE TABLE IF NOT EXISTS followed (seq INTEGER NOT NULL);
"""
    + chunk_book.SCHEMA
)
_IN_RANGE = "FROM notes WHERE kind = ? AND at_s >= ? AND at_s <= ?"
_NOTES = f"""
SELECT at_s, seq, part, kind, text, experiment, run, client {_IN_RANGE} ORDER BY at_s DESC, seq DESC, part DESC LIMIT ?
"""


class NoteKind(StrEnum):
    OP = "op"
    CHECKPOINT = "checkpoint"
    EVAL = "eval"
    FAILURE = "failure"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Note:
    """A moment. What it is not about is ``None``."""

    at_s: float
    kind: NoteKind
    text: str
    experiment: str | None
    run: str | None
    client: str | None


@dataclass(frozen=True, slots=True)
class Notes:
    """In order of time. ``left_out`` is how many more there are, older ones of the kinds that have the most."""

    items: list[Note]
    left_out: int


class Chronicle:
    """Made on the event loop's thread; reading is safe on any.

    Args:
        path: the database file; one that is damaged is begun anew.
        clock: seconds since the epoch.
    """

    def __init__(self, path: Path, loop: PlanLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._path = path.absolute()
        self._mutex = threading.Lock()
        """Of the database's writer; the event loop's thread never waits for it once the chronicle runs."""
        self._database = _open(path)
        self._slots = SlotBook(self._database)
        self._chunks = ChunkBook(self._database)
        self._notes: list[tuple[int, int, Note]] = []
        self._pending = threading.Lock()
        """Of the books and of what is not yet written; held for moments."""
        self._seen = 0
        self._looked_s = 0.0
        """When all slots were looked at last: what is seen to have changed since changed later."""
        self._task: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follows the plan from now on, and first what it missed."""
        row = self._database.execute("SELECT max(seq) FROM followed").fetchone()
        # One of another life of the journal (a restored backup) counts from its end on.
        after = min(max(row[0] or 0, self._loop.oldest), self._loop.seq)
        self._seen = after
        self._look_at_slots(self._changed_s())
        self._looked_s = max(self._looked_s, self._clock())
        with self._mutex:
            self._write()
            try:
                with self._database:
                    slot_book.fill_old_gaps(self._database)
            except sqlite3.Error as error:
                _log.warning("idle times of before are not known: %s", error)
        self._task = asyncio.get_running_loop().create_task(self._follow(after), name="chronicle")

    def _changed_s(self) -> float:
        """When the plan became what it is. Nothing has changed it since, however long there was no host."""
        if self._loop.seq <= self._loop.oldest:
            return self._clock()
        return next(iter(self._loop.journal.read(self._loop.seq - 1))).now_s

    async def close(self) -> None:
        """Writes what it knows. Idempotent."""
        for task in (self._task, self._writing):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        with self._mutex:
            self._write()
            self._database.close()
        self._task = self._writing = None

    async def _follow(self, after: int) -> None:
        try:
            async for entry in self._loop.subscribe(after):
                self.take(entry)
                if self._writing is None or self._writing.done():
                    self._writing = asyncio.get_running_loop().create_task(self._write_soon(), name="chronicle-write")
        except GswarmError as error:
            _log.warning("charts get no marks any more until the host starts again: %s", error)

    async def _write_soon(self) -> None:
        """Many entries share a transaction."""
        await asyncio.sleep(WRITE_DELAY_S)
        self._look_at_slots(self._clock())
        await asyncio.to_thread(self._write_locked)

    def _write_locked(self) -> None:
        with self._mutex:
            self._write()

    # ---- what is kept ------------------------------------------------------------------------------------------------

    def take(self, entry: JournalEntry) -> None:
        """One entry of the journal, behind the ones before it."""
        notes = [Note(entry.now_s, kind, text[:TEXT_CHARS_MAX], *self._about(entry.event)) for kind, text in _notes(entry.event)]
        with self._pending:
            self._notes += [(entry.seq, part, note) for part, note in enumerate(notes)]
            self._seen = entry.seq
            self._chunks.take(entry.event, entry.now_s)
        client = getattr(entry.event, "client", None)
        if client is not None and client in self._loop.state.clients:
            self._look_at(self._loop.state.clients[client].slots, max(entry.now_s, self._looked_s))

    def _about(self, event: Event) -> tuple[str | None, str | None, str | None]:
        """Experiment, run and client."""
        run = getattr(event, "run", None) or getattr(event, "parent", None)
        known = self._loop.state.runs.get(run) if run is not None else None
        experiment = known.experiment if known is not None else getattr(event, "experiment", None)
        return experiment, run, getattr(event, "client", None)

    def _look_at_slots(self, now_s: float) -> None:
        """All of them: what one client reports can give work to another."""
        self._looked_s = max(now_s, self._looked_s)
        self._look_at(self._loop.state.slots, self._looked_s)
        with self._pending:
            self._slots.close_gone(self._loop.state, self._looked_s)
            self._chunks.close_gone(self._loop.state, self._looked_s)

    def _look_at(self, slots: Iterable[SlotId], now_s: float) -> None:
        with self._pending:
            self._slots.look_at(self._loop.state, slots, now_s)
            self._chunks.look_at(self._loop.state, slots, now_s)

    def _write(self) -> None:
        with self._pending:
            notes, self._notes = self._notes, []
            spans, chunks, seen = self._slots.take_changed(), self._chunks.take_changed(), self._seen
        if not notes and not spans and not chunks:
            return
        try:
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [(seq, part, note.at_s, note.kind, note.text, note.experiment, note.run, note.client) for seq, part, note in notes],
                )
                slot_book.write_spans(self._database, spans)
                chunk_book.write_chunks(self._database, chunks)
                self._database.execute("DELETE FROM followed")
                self._database.execute("INSERT INTO followed VALUES (?)", (seen,))
        except sqlite3.Error as error:
            _log.warning("%d marks of charts were not kept: %s", len(notes) + len(spans) + len(chunks), error)

    # ---- what is asked -----------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """All that is known now, and stays so until it is closed. However long that is, nobody waits for it. Raises StorageError."""
        self._write_locked()
        try:
            with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=30)) as database:
                database.execute("BEGIN")
                yield database
        except sqlite3.Error as error:
            raise StorageError(f"{self._path} cannot be read: {error}", "look at the disk and the permissions") from error

    def notes(self, from_s: float, to_s: float, limit: int = NOTES_ANSWER_MAX) -> Notes:
        """Of each kind the newest; rare kinds as a whole, the others share the rest of the room."""
        with self.reading() as database:
            counts = {kind: database.execute(f"SELECT count(*) {_IN_RANGE}", (kind, from_s, to_s)).fetchone()[0] for kind in NoteKind}
            found = [
                reversed(database.execute(_NOTES, (kind, from_s, to_s, share)).fetchall()) for kind, share in _shares(counts, limit).items()
            ]
        items = [
            Note(at_s, NoteKind(kind), text, experiment, run, client)
            for at_s, _seq, _part, kind, text, experiment, run, client in heapq.merge(*found, key=lambda row: row[:3])
        ]
        return Notes(items, sum(counts.values()) - len(items))

    def spans(self, from_s: float, to_s: float, runs: Collection[RunId] = ()) -> list[SlotSpan]:
        """All that touch the range, of some runs or of all.

        Raises:
            InvalidInputError: there are too many for one answer.
        """
        found = []
        with self.reading() as database:
            for span in slot_book.read_spans(database, Asked(from_s, to_s), runs):
                found.append(span)
                if len(found) > SPANS_ANSWER_MAX:
                    raise InvalidInputError(
                        f"these runs had slots over {SPANS_ANSWER_MAX} times in it", "choose a shorter time, or fewer runs"
                    )
        return found

    def chunks(self, from_s: float, to_s: float, limit: int, experiment: ExperimentId | None = None) -> list[ChunkTime]:
        """Those that touch the range, by their begin; the newest ``limit``, of one experiment or of all."""
        with self.reading() as database:
            return chunk_book.read_chunks(database, from_s, to_s, limit, experiment)

    def last_ends(self, wanted: Iterable[tuple[RunId, SlotId]]) -> dict[RunId, float]:
        """Since when runs wait: the end of each one's newest chunk on its slot, in seconds since the epoch, where it is kept.

        Raises:
            StorageError: the chronicle cannot be read.
        """
        with self.reading() as database:
            return chunk_book.read_last_ends(database, wanted)


def _shares(counts: Mapping[NoteKind, int], limit: int) -> dict[NoteKind, int]:
    """How many of each kind there is room for: the kind with the fewest comes first."""
    shares: dict[NoteKind, int] = {}
    for kind, count in sorted(counts.items(), key=lambda one: one[1]):
        shares[kind] = min(count, (limit - sum(shares.values())) // (len(counts) - len(shares)))
    return shares


def _notes(event: Event) -> Iterator[tuple[NoteKind, str]]:
    match event:
        case (
            e.ExperimentSubmitted()
            | e.ExperimentOpRequested()
            | e.RunOpRequested()
            | e.RunCloneRequested()
            | e.ClientDrainRequested()
            | e.JobRequested()
        ):
            yield NoteKind.OP, describe(event)
        case e.ChunkCommitted():
            yield NoteKind.CHECKPOINT, f"{event.run}: checkpoint at step {event.checkpoint.step}"
            evals = ", ".join(f"{name} {value:.4g}" for name, value in event.checkpoint.metrics if name.startswith("eval_"))
            if evals:
                yield NoteKind.EVAL, f"{event.run}: {evals} at step {event.checkpoint.step}"
        case e.ChunkFailed():
            yield NoteKind.FAILURE, describe(event)
        case e.JobFinished(failure=failure) if failure is not None:
            yield NoteKind.FAILURE, describe(event)
        case e.ClientRegistered() | e.ClientLost() | e.SlotsOccupied() | e.PlanRestored():
            yield NoteKind.CLIENT, describe(event)
        case e.ChunkTrained() | e.GrantReturned() | e.JobFinished() | e.TimerFired():
            return


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _prepared(path)
    except sqlite3.DatabaseError as error:
        _log.warning("%s is damaged (%s); it is set aside, and charts begin without marks", path, error)
        try:
            path.replace(path.with_suffix(".damaged"))
            return _prepared(path)
        except (OSError, sqlite3.Error) as again:
            raise StorageError(f"{path} cannot be used: {again}", "look at the disk and the permissions") from again


def _prepared(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, timeout=30)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_SCHEMA)
        slot_book.prepare(database)
        for table, column, limit in (("notes", "at_s", NOTES_MAX), ("chunks", "begun_s", CHUNKS_MAX)):
            query = f"DELETE FROM {table} WHERE {column} < (SELECT {column} FROM {table} ORDER BY {column} DESC LIMIT 1 OFFSET ?)"  # noqa: S608
            database.execute(query, (limit,))
        database.commit()
    except BaseException:
        database.close()
        raise
    return database
