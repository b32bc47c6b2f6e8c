"""When runs last had a slot, out of the chronicle: how long they have been waiting since."""

from __future__ import annotations

from collections.abc import Iterable

from gswarm.domain.ids import RunId, SlotId
from gswarm.host.chronicle import Chronicle

_NEWEST_END = "SELECT ended_s FROM chunks WHERE slot = ? AND run = ? ORDER BY generation DESC LIMIT 1"
"""The beginning of the table's key: it costs the same however much the table holds."""


def last_turns(chronicle: Chronicle, wanted: Iterable[tuple[RunId, SlotId]]) -> dict[RunId, float]:
    """When each run's newest chunk on its slot ended, in seconds since the epoch; runs of which nothing is kept are left out.

    Raises:
        StorageError: the chronicle cannot be read.
    """
    with chronicle.reading() as database:
        found = {run: database.execute(_NEWEST_END, (slot, run)).fetchone() for run, slot in wanted}
    return {run: row[0] for run, row in found.items() if row is not None and row[0] is not None}
