"""Opening the plan: the newest usable snapshot and the entries behind it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from gswarm import __version__
from gswarm.domain.errors import CorruptDataError, GswarmError, IncompatibleVersionError
from gswarm.host.journal.decisions import decisions_digest
from gswarm.host.journal.protocol import Journal
from gswarm.scheduler import invariants
from gswarm.scheduler.core import ClusterState

SNAPSHOT_VERSION = 1
"""Grows when the state's fields change meaning; ``UPGRADES`` then brings older snapshots up."""
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Version -> what turns that version's state into the next version's. The journal alone does not reach back to the beginning."""

_STATE = TypeAdapter(ClusterState)
_log = logging.getLogger("gswarm.host.journal")


def encode_state(state: ClusterState) -> bytes:
    """The whole state as JSON. Equal states give equal bytes."""
    return b'{"v":%d,"state":%s}' % (SNAPSHOT_VERSION, _STATE.dump_json(state))


def decode_state(payload: bytes) -> ClusterState | None:
    """The state, or ``None`` when a newer version wrote it."""
    try:
        document = json.loads(payload)
        version, state = document["v"], document["state"]
        while version < SNAPSHOT_VERSION:
            state, version = UPGRADES[version](state), version + 1
        return _STATE.validate_python(state) if version == SNAPSHOT_VERSION else None
    except (ValueError, KeyError, TypeError):
        return None


def open_state(journal: Journal) -> tuple[ClusterState, int]:
    """The state after the journal's last entry, and that entry's ``seq``.

    Raises:
        CorruptDataError: an entry is damaged, no snapshot is left where one is needed, or this version decides otherwise than it did.
        IncompatibleVersionError: another version wrote the last entries and decided otherwise.
        InvariantError: the state that results is impossible.
    """
    state, seq = _from_snapshot(journal)
    for entry in journal.read(seq):
        try:
            effects = state.step(entry.event, entry.now_s)
        except GswarmError as error:
            raise _otherwise(journal, entry.seq, f"cannot be applied again: {error.message}") from error
        if entry.decided and entry.decided != decisions_digest(effects):
            raise _otherwise(journal, entry.seq, "leads to other grants now than it did")
        seq = entry.seq
    invariants.check(state)
    return state, seq


def _otherwise(journal: Journal, seq: int, what: str) -> GswarmError:
    """Going on would mean another plan than the one that clients were told of."""
    writer = journal.writer_of(seq) or "an older version"
    if writer == __version__:
        return CorruptDataError(f"entry {seq} of the journal {what}", f"start the build of gswarm {writer} that wrote it")
    return IncompatibleVersionError(
        f"entry {seq} of the journal was written by gswarm {writer} and, with gswarm {__version__}, {what}",
        f"start gswarm {writer} once and stop it with 'gswarm host stop', which saves a snapshot; then start this one",
    )


def _from_snapshot(journal: Journal) -> tuple[ClusterState, int]:
    before_seq: int | None = None
    while (found := journal.newest_snapshot(before_seq)) is not None:
        seq, payload = found
        state = decode_state(payload)
        if state is not None:
            return state, seq
        _log.warning("the snapshot of entry %d cannot be used; an older one or the whole journal is read instead", seq)
        before_seq = seq
    if journal.trimmed_seq:
        raise CorruptDataError(
            f"no snapshot can be used, and the journal begins behind entry {journal.trimmed_seq} only",
            "restore the last backup: gswarm host restore FILE --data-dir NEW",
        )
    undo_window_s = journal.constants.get("undo_window_s")
    return (ClusterState(undo_window_s=float(undo_window_s)) if undo_window_s is not None else ClusterState()), 0
