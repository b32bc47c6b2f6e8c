"""What happened when, for charts: who had which slot, and the moments worth a mark. Follows the journal, which keeps less of the past."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gswarm.domain.errors import GswarmError, StorageError
from gswarm.domain.ids import ClientName, ExperimentId, RunId, SlotId
from gswarm.host import chunk_book
from gswarm.host.chunk_book import ChunkBook, ChunkTime
from gswarm.host.journal.protocol import JournalEntry
from gswarm.host.loop import PlanLoop
from gswarm.host.people import describe
from gswarm.scheduler import events as e
from gswarm.scheduler.events import Event

NOTES_MAX = 1_000_000
SPANS_MAX = 1_000_000
"""The oldest go when the host starts."""
ANSWER_MAX = 5_000
"""Notes in an answer, the newest; spans may be four times as many."""
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
CREATE TABLE IF NOT EXISTS spans (
    slot TEXT NOT NULL, from_s REAL NOT NULL, to_s REAL, client TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY (slot, from_s)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spans_by_time ON spans (from_s);
CREATE TABLE IF NOT EXISTS followed (seq INTEGER NOT NULL);
"""
    + chunk_book.SCHEMA
)
_SPANS = "SELECT slot, client, run, from_s, to_s FROM spans WHERE from_s <= ? AND (to_s IS NULL OR to_s >= ?) ORDER BY from_s DESC LIMIT ?"
_NOTES = """
SELECT at_s, kind, text, experiment, run, client FROM notes WHERE at_s >= ? AND at_s <= ? ORDER BY at_s DESC, seq DESC, part DESC LIMIT ?
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
class SlotSpan:
    """A run was the one that trained on a slot. ``to_s`` is ``None`` while it still does."""

    slot: SlotId
    client: ClientName
    run: RunId
    from_s: float
    to_s: float | None


class Chronicle:
    """Made on the event loop's thread; reading is safe on any.

    Args:
        path: the database file; one that is damaged is begun anew.
        clock: seconds since the epoch.
    """

    def __init__(self, path: Path, loop: PlanLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._mutex = threading.Lock()
        """Of the database; the event loop's thread never waits for it once the chronicle runs."""
        self._database = _open(path)
        self._open: dict[SlotId, SlotSpan] = {
            SlotId(slot): SlotSpan(SlotId(slot), ClientName(client), RunId(run), from_s, None)
            for slot, client, run, from_s in self._database.execute("SELECT slot, client, run, from_s FROM spans WHERE to_s IS NULL")
        }
        self._chunks = ChunkBook(self._database)
        self._notes: list[tuple[int, int, Note]] = []
        self._spans: list[SlotSpan] = []
        self._pending = threading.Lock()
        """Of what is not yet written; held for moments."""
        self._seen = 0
        self._task: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follows the plan from now on, and first what it missed."""
        row = self._database.execute("SELECT max(seq) FROM followed").fetchone()
        # One of another life of the journal (a restored backup) counts from its end on.
        after = min(max(row[0] or 0, self._loop.oldest), self._loop.seq)
        self._seen = after
        self._look_at_slots(self._clock())
        self._task = asyncio.get_running_loop().create_task(self._follow(after), name="chronicle")

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
            self._look_at(self._loop.state.clients[client].slots, entry.now_s)

    def _about(self, event: Event) -> tuple[str | None, str | None, str | None]:
        """Experiment, run and client."""
        run = getattr(event, "run", None) or getattr(event, "parent", None)
        known = self._loop.state.runs.get(run) if run is not None else None
        experiment = known.experiment if known is not None else getattr(event, "experiment", None)
        return experiment, run, getattr(event, "client", None)

    def _look_at_slots(self, now_s: float) -> None:
        """All of them: what one client reports can give work to another."""
        self._look_at(list(self._loop.state.slots), now_s)
        for slot in [slot for slot in self._open if slot not in self._loop.state.slots]:
            self._change(slot, None, now_s)

    def _look_at(self, slots: Iterable[SlotId], now_s: float) -> None:
        state, slots = self._loop.state, tuple(slots)
        with self._mutex:
            self._chunks.look_at(state, slots, now_s)
        for slot in slots:
            record = state.slots.get(slot)
            run = record.queue[0][0] if record is not None and record.queue else None
            span = self._open.get(slot)
            if run != (span.run if span is not None else None):
                self._change(slot, run, now_s)

    def _change(self, slot: SlotId, run: RunId | None, now_s: float) -> None:
        with self._pending:
            before = self._open.pop(slot, None)
            if before is not None:
                self._spans.append(SlotSpan(slot, before.client, before.run, before.from_s, max(now_s, before.from_s)))
            if run is not None:
                begun = SlotSpan(slot, self._loop.state.slots[slot].client, run, now_s, None)
                self._open[slot] = begun
                self._spans.append(begun)

    def _write(self) -> None:
        with self._pending:
            notes, spans, seen = self._notes, self._spans, self._seen
            self._notes, self._spans = [], []
        if not notes and not spans and not self._chunks.has_news:
            return
        try:
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [(seq, part, note.at_s, note.kind, note.text, note.experiment, note.run, note.client) for seq, part, note in notes],
                )
                self._database.executemany(
                    "INSERT OR REPLACE INTO spans (slot, client, run, from_s, to_s) VALUES (?, ?, ?, ?, ?)",
                    [(span.slot, span.client, span.run, span.from_s, span.to_s) for span in spans],
                )
                self._chunks.write(self._database)
                self._database.execute("DELETE FROM followed")
                self._database.execute("INSERT INTO followed VALUES (?)", (seen,))
        except sqlite3.Error as error:
            _log.warning("%d marks of charts were not kept: %s", len(notes) + len(spans), error)

    # ---- what is asked -----------------------------------------------------------------------------------------------

    def notes(self, from_s: float, to_s: float, limit: int = ANSWER_MAX) -> list[Note]:
        """In order of time; the newest ``limit``."""
        with self._mutex:
            self._write()
            rows = self._database.execute(_NOTES, (from_s, to_s, limit)).fetchall()
        return [Note(at_s, NoteKind(kind), text, experiment, run, client) for at_s, kind, text, experiment, run, client in reversed(rows)]

    def spans(self, from_s: float, to_s: float, limit: int = 4 * ANSWER_MAX) -> list[SlotSpan]:
        """Those that touch the range, by their begin; the newest ``limit``."""
        with self._mutex:
            self._write()
            rows = self._database.execute(_SPANS, (to_s, from_s, limit)).fetchall()
        return [
            SlotSpan(SlotId(slot), ClientName(client), RunId(run), begin_s, end_s) for slot, client, run, begin_s, end_s in reversed(rows)
        ]

    def chunks(self, from_s: float, to_s: float, limit: int, experiment: ExperimentId | None = None) -> list[ChunkTime]:
        """Those that touch the range, by their begin; the newest ``limit``, of one experiment or of all."""
        with self._mutex:
            self._write()
            return chunk_book.read_chunks(self._database, from_s, to_s, limit, experiment)


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
        for table, column, limit in (("notes", "at_s", NOTES_MAX), ("spans", "from_s", SPANS_MAX), ("chunks", "begun_s", SPANS_MAX)):
            query = f"DELETE FROM {table} WHERE {column} < (SELECT {column} FROM {table} ORDER BY {column} DESC LIMIT 1 OFFSET ?)"  # noqa: S608
            database.execute(query, (limit,))
        database.commit()
    except BaseException:
        database.close()
        raise
    return database
