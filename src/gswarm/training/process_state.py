"""What trainers keep for the whole process instead of for themselves; every run has its own copy while it is paused.

That is the random state, and accelerate's ``AcceleratorState`` (mixed precision) and ``GradientState`` (active data loaders): both are
shared dictionaries by design, so two trainers of one process would otherwise read each other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from accelerate.state import AcceleratorState, GradientState

from gswarm.training.rng import RngState


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A run's copy of the process-wide state."""

    rng: RngState
    accelerator: dict[str, Any]
    gradient: dict[str, Any]

    @classmethod
    def capture(cls) -> ProcessState:
        return cls(RngState.capture(), dict(AcceleratorState._shared_state), dict(GradientState._shared_state))

    def restore(self) -> None:
        self.rng.restore()
        _put(AcceleratorState._shared_state, self.accelerator)
        _put(GradientState._shared_state, self.gradient)


def forget() -> None:
    """As in a new process: the next trainer that is built sets accelerate's state itself."""
    AcceleratorState._reset_state()
    GradientState._reset_state()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever runs inside leaves the process-wide state as it was."""
    state = ProcessState.capture()
    try:
        yield
    finally:
        state.restore()


def _put(shared: dict[str, Any], own: dict[str, Any]) -> None:
    shared.clear()
    shared.update(own)
