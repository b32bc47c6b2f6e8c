"""Which run had a slot when, and why a slot without one had none. From when a slot is known until it is gone one span follows the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from gswarm.domain.ids import ClientName, RunId, SlotId
from gswarm.host.timeline.idle_causes import Cause, idle_cause
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.gangs import Reservations

_BEHIND_A_RUN = (Cause.STOPPED, Cause.WAITING)
SPANS_MAX = 2_000_000
"""The oldest go when the host starts; those that last still stay."""
_VERSION = 1
"""In the database's ``user_version``; 0 has no idle spans."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS spans (
    slot TEXT NOT NULL, from_s REAL NOT NULL, to_s REAL, client TEXT NOT NULL, run TEXT NOT NULL, cause TEXT, PRIMARY KEY (slot, from_s)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spans_by_time ON spans (from_s);
"""
_INSERT = "INSERT OR REPLACE INTO spans (slot, from_s, to_s, client, run, cause) VALUES (?, ?, ?, ?, ?, ?)"
_SELECT = "SELECT slot, from_s, to_s, client, run, cause FROM spans"
_END_LOST = """
UPDATE spans SET to_s = (SELECT min(from_s) FROM spans AS later WHERE later.slot = spans.slot AND later.from_s > spans.from_s)
WHERE to_s IS NULL
"""
"""The end of a span may not have found room on the disk; the next one's begin did."""
_FILL_GAPS = """
INSERT OR IGNORE INTO spans (slot, from_s, to_s, client, run, cause)
SELECT slot, to_s, next_s, client, '', 'unknown'
FROM (SELECT slot, to_s, client, lead(from_s) OVER (PARTITION BY slot ORDER BY from_s) AS next_s FROM spans)
WHERE to_s < next_s
"""


@dataclass(frozen=True, slots=True)
class SlotSpan:
    """A run was the one that trained on a slot. ``to_s`` is ``None`` while it still does."""

    slot: SlotId
    client: ClientName
    run: RunId
    from_s: float
    to_s: float | None


@dataclass(frozen=True, slots=True)
class IdleSpan:
    """A slot had no run. ``to_s`` is ``None`` while it still has none."""

    slot: SlotId
    client: ClientName
    cause: Cause
    from_s: float
    to_s: float | None


class SlotBook:
    """Not safe on several threads: the chronicle calls it under its own lock.

    Args:
        database: where the spans are kept; the chronicle's.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._open = {span.slot: span for span in map(_span, database.execute(f"{_SELECT} WHERE to_s IS NULL ORDER BY from_s"))}
        self._changed: list[SlotSpan | IdleSpan] = []

    def look_at(self, state: ClusterState, slots: Iterable[SlotId], now_s: float) -> None:
        """What the slots do now, or why they do nothing; whatever changed since the last look changed now."""
        reservations = Reservations(state)
        for slot_id in slots:
            slot, before = state.slots[slot_id], self._open.get(slot_id)
            if slot.queue:
                run = slot.queue[0][0]
                if not (isinstance(before, SlotSpan) and before.run == run):
                    self._turn(SlotSpan(slot_id, slot.client, run, now_s, None), before)
                continue
            known = before.cause if isinstance(before, IdleSpan) else None
            had_run = isinstance(before, SlotSpan) or known in _BEHIND_A_RUN
            cause = idle_cause(state, slot, reservations, had_run=had_run)
            if cause is not known:
                self._turn(IdleSpan(slot_id, slot.client, cause, now_s, None), before)

    def close_gone(self, state: ClusterState, now_s: float) -> None:
        """Slots that the plan does not have any more have nothing, not even idle time."""
        if len(self._open) == len(state.slots) and self._open.keys() == state.slots.keys():
            return
        for slot_id in [slot_id for slot_id in self._open if slot_id not in state.slots]:
            before = self._open.pop(slot_id)
            self._changed.append(replace(before, to_s=max(now_s, before.from_s)))

    def _turn(self, span: SlotSpan | IdleSpan, before: SlotSpan | IdleSpan | None) -> None:
        if before is not None:
            span = replace(span, from_s=max(span.from_s, before.from_s))
            # One of no length has the key of the one behind it, which takes its place.
            self._changed.append(replace(before, to_s=span.from_s))
        self._open[span.slot] = span
        self._changed.append(span)

    def take_changed(self) -> list[SlotSpan | IdleSpan]:
        """For ``write_spans``, in this order."""
        changed, self._changed = self._changed, []
        return changed


def prepare(database: sqlite3.Connection) -> None:
    """A database of any age. Raises sqlite3.Error."""
    database.executescript(SCHEMA)
    if "cause" not in {row[1] for row in database.execute("PRAGMA table_info(spans)")}:
        database.execute("ALTER TABLE spans ADD COLUMN cause TEXT")
    database.execute(_END_LOST)
    newest = "SELECT from_s FROM spans ORDER BY from_s DESC LIMIT 1 OFFSET ?"
    database.execute(f"DELETE FROM spans WHERE to_s IS NOT NULL AND from_s < ({newest})", (SPANS_MAX,))  # noqa: S608  constants


def fill_old_gaps(database: sqlite3.Connection) -> None:
    """Once in a database's life, when the slots of now are in it: time between spans of before. Raises sqlite3.Error."""
    if database.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
        database.execute(_FILL_GAPS)
        database.execute(f"PRAGMA user_version = {_VERSION}")


def write_spans(database: sqlite3.Connection, spans: Iterable[SlotSpan | IdleSpan]) -> None:
    """Inside a transaction of the caller's. Raises sqlite3.Error."""
    database.executemany(_INSERT, map(_row, spans))


def _row(span: SlotSpan | IdleSpan) -> tuple[str, float, float | None, str, str, str | None]:
    if isinstance(span, SlotSpan):
        return span.slot, span.from_s, span.to_s, span.client, span.run, None
    return span.slot, span.from_s, span.to_s, span.client, "", span.cause.value


def _span(row: tuple[str, float, float | None, str, str, str | None]) -> SlotSpan | IdleSpan:
    slot, from_s, to_s, client, run, cause = row
    if cause is None:
        return SlotSpan(SlotId(slot), ClientName(client), RunId(run), from_s, to_s)
    return IdleSpan(SlotId(slot), ClientName(client), Cause(cause), from_s, to_s)


# ---- what is asked: all of it, however much that is -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """The spans that touch a time, of some clients; no clients means all.

    Attributes:
        from_s, to_s: seconds since the epoch.
    """

    from_s: float
    to_s: float
    clients: frozenset[str] = frozenset()

    @property
    def where(self) -> str:
        """Of a query whose parameters begin with ``values``."""
        chosen = f" AND client IN ({_marks('c', self.clients)})" if self.clients else ""
        return f"from_s <= :to AND (to_s IS NULL OR to_s >= :from){chosen}"

    @property
    def values(self) -> dict[str, float | str]:
        return {"from": self.from_s, "to": self.to_s, **_named("c", self.clients)}


@dataclass(frozen=True, slots=True)
class IdlePart:
    """An idle time as far as it lies in the time that is asked for."""

    slot: SlotId
    client: ClientName
    cause: Cause
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class IdleTime:
    """What a slot's idle times of one cause came to."""

    slot: SlotId
    client: ClientName
    cause: Cause
    count: int
    total_s: float
    longest_s: float


_END = "min(coalesce(to_s, :to), :to)"
_BEGIN = "max(from_s, :from)"
_LENGTH = f"max(0.0, {_END} - {_BEGIN})"


def read_spans(database: sqlite3.Connection, asked: Asked, runs: Collection[str] = ()) -> Iterator[SlotSpan]:
    """Slot by slot, in order of time; of some runs or of all."""
    chosen = f" AND run IN ({_marks('r', runs)})" if runs else ""
    query = f"SELECT slot, client, run, from_s, to_s FROM spans WHERE cause IS NULL AND {asked.where}{chosen} ORDER BY slot, from_s"  # noqa: S608  constants
    for row in database.execute(query, {**asked.values, **_named("r", runs)}):
        yield SlotSpan(*row)


def read_idle_times(database: sqlite3.Connection, asked: Asked, least_s: float) -> Iterator[IdleTime]:
    """Slot by slot and cause by cause, of idle times that are as long as ``least_s``."""
    query = f"""
    SELECT slot, client, cause, count(*), sum({_LENGTH}), max({_LENGTH}) FROM spans
    WHERE cause IS NOT NULL AND {asked.where} AND {_LENGTH} >= :least GROUP BY slot, cause
    """  # noqa: S608  constants
    for slot, client, cause, count, total_s, longest_s in database.execute(query, {**asked.values, "least": least_s}):
        yield IdleTime(slot, client, Cause(cause), count, total_s, longest_s)


def read_longest_idle(database: sqlite3.Connection, asked: Asked, least_s: float, limit: int) -> Iterator[IdlePart]:
    """The longest idle times."""
    query = f"""
    SELECT slot, client, cause, {_BEGIN}, {_END} FROM spans
    WHERE cause IS NOT NULL AND {asked.where} AND {_LENGTH} >= :least ORDER BY {_LENGTH} DESC LIMIT :limit
    """  # noqa: S608  constants
    for slot, client, cause, from_s, to_s in database.execute(query, {**asked.values, "least": least_s, "limit": limit}):
        yield IdlePart(slot, client, Cause(cause), from_s, to_s)


def _marks(letter: str, values: Collection[str]) -> str:
    return ", ".join(f":{letter}{place}" for place in range(len(values)))


def _named(letter: str, values: Collection[str]) -> dict[str, str]:
    return {f"{letter}{place}": value for place, value in enumerate(sorted(values))}
