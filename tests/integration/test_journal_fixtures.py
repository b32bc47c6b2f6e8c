"""Journals of every released version replay to what they meant when they were written."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from gswarm.host.journal.codec import EVENT_TYPES
from gswarm.host.journal.snapshot import open_state
from gswarm.host.journal.sqlite import SqliteJournal

FIXTURES = Path(__file__).parents[1] / "fixtures" / "journals"
_spec = importlib.util.spec_from_file_location("make_journal_fixture", FIXTURES / "make.py")
assert _spec is not None
assert _spec.loader is not None
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


@pytest.mark.parametrize("version", sorted(path.stem for path in FIXTURES.glob("*.db")))
def test_an_old_journal_replays_to_its_recorded_facts(version: str, tmp_path: Path) -> None:
    shutil.copy(FIXTURES / f"{version}.db", tmp_path / "journal.db")
    journal = SqliteJournal(tmp_path / "journal.db", "fixture")
    state, seq = open_state(journal)
    recorded = json.loads((FIXTURES / f"{version}.json").read_text())
    assert json.loads(json.dumps({"seq": seq, **make.facts(state)})) == recorded


LATER = {"PlanRestored", "SlotsOccupied"}
"""Types that the first version did not have."""


def test_the_first_version_has_every_type_of_event(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "v1.db", tmp_path / "journal.db")
    types = {type(entry.event).__name__ for entry in SqliteJournal(tmp_path / "journal.db").read()}
    assert types == set(EVENT_TYPES) - LATER
