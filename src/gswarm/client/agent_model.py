"""What the agent remembers: grants, slots and the rules that read nothing else. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gswarm.client.agent_events import InputDirs
from gswarm.domain.ids import RunId
from gswarm.domain.messages import GrantOrder
from gswarm.domain.plan import Checkpoint
from gswarm.domain.spec import RunSpec
from gswarm.training.protocol import RangeTrained

GrantKey = tuple[RunId, int]
"""(run, generation)."""


class GrantPhase(StrEnum):
    """Where a held grant is, in the order it passes through."""

    FETCHING = "fetching"
    """Its inputs are on their way."""
    READY = "ready"
    """Its inputs are here; the trainer process does not know it yet."""
    SENT = "sent"
    """The trainer process trains it, or has it queued."""
    STOPPING = "stopping"
    """The trainer process was told to stop it at the next step."""
    TRAINED = "trained"
    """The snapshot waits until an older checkpoint of the run is acknowledged."""
    STORING = "storing"
    """The snapshot is on its way into the pools."""
    STORED = "stored"
    """The commit is reported and not acknowledged yet."""
    ENDED = "ended"
    """The failure or the return is reported and not acknowledged yet."""


QUEUED_PHASES = frozenset({GrantPhase.FETCHING, GrantPhase.READY, GrantPhase.SENT, GrantPhase.STOPPING})
"""The grant occupies its slot."""
WITH_TRAINER_PHASES = frozenset({GrantPhase.SENT, GrantPhase.STOPPING})
"""The trainer process owes an answer."""
SAVING_PHASES = frozenset({GrantPhase.STORING, GrantPhase.STORED})
"""At most one grant of a run is in these, so that commits arrive in order."""


@dataclass(slots=True)
class HeldGrant:
    """An accepted grant, until its last report is acknowledged or the host takes it back."""

    order: GrantOrder
    phase: GrantPhase
    dirs: InputDirs | None = None
    hot_before_step: int | None = None
    """Where the trainer process held the run when the range was sent; what a dropped range goes back to."""
    snapshot: RangeTrained | None = None
    checkpoint: Checkpoint | None = None
    pushes: int = 0

    @property
    def key(self) -> GrantKey:
        return (self.order.run, self.order.generation)


class ProcessState(StrEnum):
    ABSENT = "absent"
    STARTING = "starting"
    UP = "up"


@dataclass(slots=True)
class SlotState:
    """One slot and its trainer process."""

    index: int
    process: ProcessState = ProcessState.ABSENT
    epoch: int = 0
    """Of the newest process. Grows with each."""
    precision: str | None = None
    """Of everything the process has trained; accelerate keeps it process-wide."""
    hot: dict[RunId, int] = field(default_factory=dict)
    """Run -> the step at which the process will hold it once all that was sent is done."""
    queue: list[GrantKey] = field(default_factory=list)
    """In order of training; those with the trainer process come first."""


def precision_of(spec: RunSpec) -> str:
    """The mixed precision that a trainer process must be in for this run."""
    if spec.bf16:
        return "bf16"
    return "fp16" if spec.fp16 else "no"


def continues_uncommitted(order: GrantOrder) -> bool:
    """Whether the grant begins where an earlier grant ends whose checkpoint was not committed when this one was made."""
    checkpoint = order.checkpoint
    committed = checkpoint is not None and not order.warm_start and checkpoint.step == order.from_step
    return order.from_step > order.first_step and not committed


def start_checkpoint(order: GrantOrder) -> Checkpoint | None:
    """The checkpoint to build the run from where it is not hot; ``None`` is the base, or an uncommitted state."""
    return None if continues_uncommitted(order) else order.checkpoint
