"""When each chunk had its slot, for the timeline: begun as it came to the head of the slot's queue, over as its client said so."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from gswarm.domain.ids import ClientName, ExperimentId, RunId, SlotId
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.events import ChunkFailed, ChunkTrained, Event

DROPPED_MAX = 4_096
"""Chunks whose fate may still be heard of."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS chunks (
    slot TEXT NOT NULL, begun_s REAL NOT NULL, ended_s REAL, client TEXT NOT NULL, experiment TEXT NOT NULL, run TEXT NOT NULL,
    generation INTEGER NOT NULL, from_step INTEGER NOT NULL, to_step INTEGER NOT NULL, step_time_s REAL, outcome TEXT NOT NULL,
    PRIMARY KEY (slot, run, generation)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chunks_by_time ON chunks (begun_s);
"""
_COLUMNS = "slot, begun_s, ended_s, client, experiment, run, generation, from_step, to_step, step_time_s, outcome"
_INSERT = f"INSERT OR REPLACE INTO chunks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  constants
_SELECT = f"SELECT {_COLUMNS} FROM chunks WHERE begun_s <= ? AND (ended_s IS NULL OR ended_s >= ?)"  # noqa: S608  constants
_NEWEST_END = "SELECT ended_s FROM chunks WHERE slot = ? AND run = ? ORDER BY generation DESC LIMIT 1"
"""The beginning of the table's key: it costs the same however much the table holds."""


class Outcome(StrEnum):
    TRAINING = "training"
    TRAINED = "trained"
    FAILED = "failed"
    DROPPED = "dropped"
    """Given back, revoked, or lost with its client: the steps count elsewhere, or not at all."""


@dataclass(frozen=True, slots=True)
class ChunkTime:
    """A chunk on one slot; a gang's chunk is there once a slot.

    Attributes:
        begun_s, ended_s: seconds since the epoch by the host's clock; ``ended_s`` is ``None`` while it trains.
        to_step: the step that was reached, once it has ended well; before that the end of its grant.
        step_time_s: mean time of its steps, as the client reported it.
    """

    slot: SlotId
    begun_s: float
    ended_s: float | None
    client: ClientName
    experiment: ExperimentId
    run: RunId
    generation: int
    from_step: int
    to_step: int
    step_time_s: float | None
    outcome: Outcome


class ChunkBook:
    """Not safe on several threads: the chronicle calls it under its own lock.

    Args:
        database: where the chunks are kept; the chronicle's.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        found = [_chunk(row) for row in database.execute(_SELECT + " AND ended_s IS NULL", (float("inf"), 0.0))]
        self._open = {chunk.slot: chunk for chunk in found}
        self._dropped: deque[ChunkTime] = deque(maxlen=DROPPED_MAX)
        self._changed: dict[tuple[SlotId, RunId, int], ChunkTime] = {}

    def take(self, event: Event, now_s: float) -> None:
        """What a client said about a chunk of its. The slots may have moved on before, see ``look_at``."""
        match event:
            case ChunkTrained(run=run, generation=generation):
                for chunk in self._of(run, generation):
                    done = replace(chunk, to_step=event.reached_step, step_time_s=event.step_time_s, outcome=Outcome.TRAINED)
                    self._end(done, now_s)
            case ChunkFailed(run=run, generation=generation):
                for chunk in self._of(run, generation):
                    self._end(replace(chunk, outcome=Outcome.FAILED), now_s)
            case _:
                pass

    def _of(self, run: RunId, generation: int) -> list[ChunkTime]:
        return [chunk for chunk in (*self._open.values(), *self._dropped) if (chunk.run, chunk.generation) == (run, generation)]

    def look_at(self, state: ClusterState, slots: Iterable[SlotId], now_s: float) -> None:
        """What is at the head of the slots' queues now.

        A chunk that is not there any more counts as dropped, unless ``take`` hears better: the plan is ahead of the events that come here.
        """
        for slot in slots:
            record, chunk = state.slots[slot], self._open.get(slot)
            head = record.queue[0] if record.queue else None
            if chunk is not None and head != (chunk.run, chunk.generation):
                self._drop(chunk, now_s)
                chunk = None
            if head is not None and chunk is None:
                self._begin(state, slot, record.client, head, now_s)

    def close_gone(self, state: ClusterState, now_s: float) -> None:
        """A slot that the plan does not have any more has nothing."""
        for chunk in [chunk for slot, chunk in self._open.items() if slot not in state.slots]:
            self._drop(chunk, now_s)

    def _drop(self, chunk: ChunkTime, now_s: float) -> None:
        self._end(replace(chunk, outcome=Outcome.DROPPED), now_s)
        self._dropped.append(chunk)

    def _begin(self, state: ClusterState, slot: SlotId, client: ClientName, head: tuple[RunId, int], now_s: float) -> None:
        run = state.runs[head[0]]
        grant = next((grant for grant in run.grants if grant.generation == head[1]), None)
        if grant is not None:
            steps = (grant.from_step, grant.to_step)
            self._keep(ChunkTime(slot, now_s, None, client, run.experiment, run.id, head[1], *steps, None, Outcome.TRAINING))

    def _end(self, chunk: ChunkTime, now_s: float) -> None:
        self._keep(replace(chunk, ended_s=max(now_s, chunk.begun_s)))

    def _keep(self, chunk: ChunkTime) -> None:
        self._changed[chunk.slot, chunk.run, chunk.generation] = chunk
        if chunk.ended_s is None:
            self._open[chunk.slot] = chunk
        elif (now := self._open.get(chunk.slot)) is not None and (now.run, now.generation) == (chunk.run, chunk.generation):
            del self._open[chunk.slot]

    def take_changed(self) -> list[ChunkTime]:
        """For ``write_chunks``."""
        changed, self._changed = self._changed, {}
        return list(changed.values())


def write_chunks(database: sqlite3.Connection, chunks: Iterable[ChunkTime]) -> None:
    """Inside a transaction of the caller's. Raises sqlite3.Error."""
    database.executemany(_INSERT, (tuple(getattr(chunk, name) for name in ChunkTime.__slots__) for chunk in chunks))


def read_chunks(
    database: sqlite3.Connection, from_s: float, to_s: float, limit: int, experiment: ExperimentId | None = None
) -> list[ChunkTime]:
    """Those that touch the range, by their begin; the newest ``limit``, of one experiment or of all."""
    only, values = ("", ()) if experiment is None else (" AND experiment = ?", (experiment,))
    query = f"{_SELECT}{only} ORDER BY begun_s DESC LIMIT ?"
    rows = database.execute(query, (to_s, from_s, *values, limit)).fetchall()
    return [_chunk(row) for row in reversed(rows)]


def read_last_ends(database: sqlite3.Connection, wanted: Iterable[tuple[RunId, SlotId]]) -> dict[RunId, float]:
    """When each run's newest chunk on its slot ended, in seconds since the epoch; runs of which nothing is kept are left out."""
    found = {run: database.execute(_NEWEST_END, (slot, run)).fetchone() for run, slot in wanted}
    return {run: row[0] for run, row in found.items() if row is not None and row[0] is not None}


def _chunk(row: tuple[Any, ...]) -> ChunkTime:
    slot, begun_s, ended_s, client, experiment, run, generation, from_step, to_step, step_time_s, outcome = row
    ids = (ClientName(client), ExperimentId(experiment), RunId(run))
    return ChunkTime(SlotId(slot), begun_s, ended_s, *ids, generation, from_step, to_step, step_time_s, Outcome(outcome))
