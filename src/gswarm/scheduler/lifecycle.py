"""The lifecycle of a run as one table: what every operation does in every state, and which events move a run by themselves.

``python -m gswarm.scheduler.lifecycle`` prints ``docs/lifecycle.md``; a test keeps the page and the table equal.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from gswarm.domain.errors import ConflictError, InvariantError
from gswarm.domain.plan import RunOp, RunState


@dataclass(frozen=True, slots=True)
class Allowed:
    """The operation is possible. ``targets`` are the states it may lead to; empty when the run itself stays as it is."""

    targets: tuple[RunState, ...]
    effect: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The operation is a conflict in this state."""

    reason: str


Cell = Allowed | Refused

_CLONE = Allowed((), "a new run is queued; this one stays as it is")
_DELETE = Allowed((RunState.DELETING,), "open grants are revoked; undoable until the sweep")
_NOT_DELETED = Refused("it is not deleted")
_GONE = Refused("it is deleted and its checkpoints are gone")
_UNDO_FIRST = Refused("it is being deleted")
_ENDED = Refused("it has ended")

TABLE: dict[RunState, dict[RunOp, Cell]] = {
    RunState.QUEUED: {
        RunOp.STOP: Allowed((RunState.STOPPED, RunState.STOPPING), "stopped at once, or when the last open grant has run out"),
        RunOp.RESUME: Refused("it is queued already"),
        RunOp.CLONE: _CLONE,
        RunOp.DELETE: _DELETE,
        RunOp.RESTORE: _NOT_DELETED,
    },
    RunState.RUNNING: {
        RunOp.STOP: Allowed((RunState.STOPPING,), "stops at the next step and checkpoints there"),
        RunOp.RESUME: Refused("it is running already"),
        RunOp.CLONE: _CLONE,
        RunOp.DELETE: _DELETE,
        RunOp.RESTORE: _NOT_DELETED,
    },
    RunState.STOPPING: {
        RunOp.STOP: Refused("it is stopping already"),
        RunOp.RESUME: Allowed((RunState.QUEUED,), "continues as soon as the stopping grant has run out"),
        RunOp.CLONE: _CLONE,
        RunOp.DELETE: _DELETE,
        RunOp.RESTORE: _NOT_DELETED,
    },
    RunState.STOPPED: {
        RunOp.STOP: Refused("it is stopped already"),
        RunOp.RESUME: Allowed((RunState.QUEUED,), "continues from its newest checkpoint"),
        RunOp.CLONE: _CLONE,
        RunOp.DELETE: _DELETE,
        RunOp.RESTORE: _NOT_DELETED,
    },
    RunState.COMPLETED: {
        RunOp.STOP: _ENDED,
        RunOp.RESUME: Refused("it has trained all its steps"),
        RunOp.CLONE: _CLONE,
        RunOp.DELETE: _DELETE,
        RunOp.RESTORE: _NOT_DELETED,
    },
    RunState.FAILED: {
        RunOp.STOP: _ENDED,
        RunOp.RESUME: Allowed((RunState.QUEUED,), "tried again from its newest checkpoint, with a fresh count of attempts"),
        RunOp.CLONE: _CLONE,
        RunOp.DELETE: _DELETE,
        RunOp.RESTORE: _NOT_DELETED,
    },
    RunState.PRUNED: {
        RunOp.STOP: _ENDED,
        RunOp.RESUME: Refused("the search has ended it"),
        RunOp.CLONE: _CLONE,
        RunOp.DELETE: _DELETE,
        RunOp.RESTORE: _NOT_DELETED,
    },
    RunState.DELETING: {
        RunOp.STOP: _UNDO_FIRST,
        RunOp.RESUME: _UNDO_FIRST,
        RunOp.CLONE: _CLONE,
        RunOp.DELETE: Refused("it is being deleted already"),
        RunOp.RESTORE: Allowed(
            (RunState.STOPPED, RunState.COMPLETED, RunState.FAILED, RunState.PRUNED), "as it was if it had ended, else stopped"
        ),
    },
    RunState.DELETED: dict.fromkeys(RunOp, _GONE),
}
"""Every state and every operation."""

BY_ITSELF: dict[tuple[RunState, RunState], str] = {
    (RunState.QUEUED, RunState.RUNNING): "a slot is granted",
    (RunState.QUEUED, RunState.COMPLETED): "the stopping grant, resumed, committed the last step",
    (RunState.QUEUED, RunState.FAILED): "the stopping grant, resumed, failed for good",
    (RunState.RUNNING, RunState.QUEUED): "no grant is open",
    (RunState.RUNNING, RunState.COMPLETED): "the last step is committed",
    (RunState.RUNNING, RunState.FAILED): "a chunk failed for good",
    (RunState.STOPPING, RunState.STOPPED): "no grant is open",
    (RunState.STOPPING, RunState.COMPLETED): "the last step is committed",
    (RunState.STOPPING, RunState.FAILED): "a chunk failed for good",
    (RunState.DELETING, RunState.DELETED): "the undo window is over",
}
"""Moves that no operation asks for, and what causes them."""

LIVE = frozenset({RunState.QUEUED, RunState.RUNNING, RunState.STOPPING})
"""States of a run that is neither ended nor stopped."""
ENDED = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.PRUNED})

_LEGAL = {(state, target) for state, row in TABLE.items() for cell in row.values() if isinstance(cell, Allowed) for target in cell.targets}
_LEGAL |= set(BY_ITSELF)


def possible_ops(state: RunState) -> tuple[RunOp, ...]:
    """The operations that a run in that state accepts."""
    return tuple(op for op, cell in TABLE[state].items() if isinstance(cell, Allowed))


def refused_ops(state: RunState) -> dict[RunOp, str]:
    """The operations that a run in that state does not accept, and why not."""
    return {op: cell.reason for op, cell in TABLE[state].items() if isinstance(cell, Refused)}


def require(name: str, state: RunState, op: RunOp) -> None:
    """Raises:
    ConflictError: the state does not allow the operation; ``possible`` says which it does.
    """
    cell = TABLE[state][op]
    if isinstance(cell, Refused):
        possible = possible_ops(state)
        hint = f"possible now: {', '.join(possible)}" if possible else "nothing can be done with it any more"
        raise ConflictError(f"cannot {op} {name}: {cell.reason} (state {state})", hint, possible)


def check_transition(name: str, state: RunState, target: RunState) -> None:
    """Raises:
    InvariantError: the table knows no way from ``state`` to ``target``.
    """
    if (state, target) not in _LEGAL:
        raise InvariantError(f"run {name} cannot go from {state} to {target}")


def restored_state(before: RunState | None) -> RunState:
    """Where ``RESTORE`` leads, given the state before the deletion."""
    return before if before in ENDED else RunState.STOPPED


def to_markdown() -> str:
    """The page ``docs/lifecycle.md``."""
    arrows: dict[tuple[RunState, RunState], list[str]] = {}
    for state, row in TABLE.items():
        for op, cell in row.items():
            if isinstance(cell, Allowed):
                for target in cell.targets:
                    arrows.setdefault((state, target), []).append(op.value)
    for pair, cause in BY_ITSELF.items():
        arrows.setdefault(pair, []).append(cause)
    lines = [
        "# The lifecycle of a run",
        "",
        "<!-- Generated by `python -m gswarm.scheduler.lifecycle > docs/lifecycle.md`; do not edit. -->",
        "",
        "People ask for `stop`, `resume`, `delete` and `restore`; the other moves happen by themselves.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> queued",
    ]
    lines += [f"    {state} --> {target}: {' / '.join(causes)}" for (state, target), causes in arrows.items()]
    lines += ["    deleted --> [*]", "```", "", "## Operations", "", f"| state | {' | '.join(RunOp)} |", f"|---|{'---|' * len(RunOp)}"]
    for state, row in TABLE.items():
        lines.append(f"| **{state}** | {' | '.join(_cell_text(row[op]) for op in RunOp)} |")
    lines += [
        "",
        "A refused operation is a conflict that names the operations which are possible. Every operation is idempotent by its request id.",
        "",
    ]
    return "\n".join(lines)


def _cell_text(cell: Cell) -> str:
    if isinstance(cell, Refused):
        return f"refused: {cell.reason}"
    return f"{' or '.join(cell.targets)}: {cell.effect}" if cell.targets else cell.effect


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
