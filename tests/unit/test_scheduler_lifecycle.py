"""Every cell of the lifecycle table, and the page that is generated from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gswarm.domain.errors import ConflictError, InvariantError
from gswarm.domain.plan import RunOp, RunState
from gswarm.scheduler.events import Event
from gswarm.scheduler.lifecycle import TABLE, Allowed, check_transition, possible_ops, to_markdown
from scheduler_kit import Cluster, bring_to

CELLS = [(state, op) for state in RunState for op in RunOp]
PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"


def event_for(cluster: Cluster, op: RunOp) -> Event:
    return cluster.clone_event("r1") if op is RunOp.CLONE else cluster.op_event("r1", op)


def test_the_table_defines_every_cell() -> None:
    assert {(state, op) for state, row in TABLE.items() for op in row} == set(CELLS)


@pytest.mark.parametrize(("state", "op"), CELLS)
def test_every_cell_does_what_the_table_says(state: RunState, op: RunOp) -> None:
    cluster = bring_to(state)
    cell = TABLE[state][op]
    event = event_for(cluster, op)
    if not isinstance(cell, Allowed):
        error = cluster.refused(event, ConflictError)
        assert isinstance(error, ConflictError)
        assert error.possible == possible_ops(state)
        assert "r1" in error.message
        return
    cluster.step(event)
    if cell.targets:
        assert cluster.run("r1").state in cell.targets
    else:
        assert cluster.run("r1").state is state
        assert cluster.run("r2").parent == "r1"


@pytest.mark.parametrize(("state", "op"), CELLS)
def test_the_same_request_twice_is_one(state: RunState, op: RunOp) -> None:
    if op not in possible_ops(state):
        return
    cluster = bring_to(state)
    event = event_for(cluster, op)
    cluster.step(event)
    before = cluster.dump()
    assert cluster.step(event) == []
    assert cluster.dump() == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RunState.QUEUED, RunState.STOPPED),
        (RunState.RUNNING, RunState.STOPPED),
        (RunState.STOPPING, RunState.STOPPED),
        (RunState.STOPPED, RunState.STOPPED),
        (RunState.COMPLETED, RunState.COMPLETED),
        (RunState.FAILED, RunState.FAILED),
        (RunState.PRUNED, RunState.PRUNED),
    ],
)
def test_restore_leads_back_to_where_it_was(before: RunState, after: RunState) -> None:
    cluster = bring_to(before)
    cluster.op("r1", RunOp.DELETE)
    cluster.op("r1", RunOp.RESTORE)
    assert cluster.run("r1").state is after
    assert cluster.state.timers == {}


def test_an_impossible_move_is_an_invariant_error() -> None:
    with pytest.raises(InvariantError):
        check_transition("r1", RunState.COMPLETED, RunState.RUNNING)


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == to_markdown(), "run: python -m gswarm.scheduler.lifecycle > docs/lifecycle.md"
