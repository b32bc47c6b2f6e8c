"""Opening the plan: the newest usable snapshot and the entries behind it."""

from __future__ import annotations

import json
import logging

from pydantic import TypeAdapter

from gswarm.domain.errors import CorruptDataError, GswarmError
from gswarm.host.journal.protocol import Journal
from gswarm.scheduler import invariants
from gswarm.scheduler.core import ClusterState

SNAPSHOT_VERSION = 1
"""Grows when the state's fields change meaning; older snapshots are then passed over and the journal is replayed."""

_STATE = TypeAdapter(ClusterState)
_log = logging.getLogger("gswarm.host.journal")


def encode_state(state: ClusterState) -> bytes:
    """The whole state as JSON. Equal states give equal bytes."""
    return b'{"v":%d,"state":%s}' % (SNAPSHOT_VERSION, _STATE.dump_json(state))


def decode_state(payload: bytes) -> ClusterState | None:
    """The state, or ``None`` when another version wrote it."""
    try:
        document = json.loads(payload)
        if document["v"] != SNAPSHOT_VERSION:
            return None
        return _STATE.validate_python(document["state"])
    except (ValueError, KeyError, TypeError):
        return None


def open_state(journal: Journal) -> tuple[ClusterState, int]:
    """The state after the journal's last entry, and that entry's ``seq``.

    Raises:
        CorruptDataError: an entry is damaged, or the core refuses what it accepted when it was written.
        InvariantError: the state that results is impossible.
    """
    state, seq = _from_snapshot(journal)
    for entry in journal.read(seq):
        try:
            state.step(entry.event, entry.now_s)
        except GswarmError as error:
            raise CorruptDataError(
                f"entry {entry.seq} of the journal cannot be applied again: {error.message}", "start the gswarm version that wrote it"
            ) from error
        seq = entry.seq
    invariants.check(state)
    return state, seq


def _from_snapshot(journal: Journal) -> tuple[ClusterState, int]:
    before_seq: int | None = None
    while (found := journal.newest_snapshot(before_seq)) is not None:
        seq, payload = found
        state = decode_state(payload)
        if state is not None:
            return state, seq
        _log.warning("the snapshot of entry %d cannot be used; an older one or the whole journal is read instead", seq)
        before_seq = seq
    undo_window_s = journal.constants.get("undo_window_s")
    return (ClusterState(undo_window_s=float(undo_window_s)) if undo_window_s is not None else ClusterState()), 0
