"""What happened: the inputs of ``ClusterState.step``. Past tense, frozen, journaled.

Each class has a ``VERSION``; when a field is added it gets a default, when one changes meaning the version grows and
``gswarm.host.journal.codec`` converts old entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gswarm.domain.ids import ClientName, ExperimentId, JobId, RequestId, RunId, SlotId
from gswarm.domain.plan import Checkpoint, Failure, JobKind, RunOp, RunSize, SlotSpec
from gswarm.domain.spec import ExperimentSpec, RunSpec


@dataclass(frozen=True, slots=True)
class ExperimentSubmitted:
    """A validated, expanded experiment arrived. Result id: the new ``ExperimentId``."""

    VERSION: ClassVar[int] = 1
    request: RequestId
    spec: ExperimentSpec
    runs: tuple[RunSpec, ...]
    changes: tuple[tuple[tuple[str, str], ...], ...]
    """Per run: what the search set."""
    by: str = ""


@dataclass(frozen=True, slots=True)
class ExperimentOpRequested:
    """Stop, resume or delete every run of an experiment for which it is possible."""

    VERSION: ClassVar[int] = 1
    request: RequestId
    experiment: ExperimentId
    op: RunOp
    by: str = ""


@dataclass(frozen=True, slots=True)
class RunOpRequested:
    """Stop, resume, delete or restore one run. Result id: the run's id."""

    VERSION: ClassVar[int] = 1
    request: RequestId
    run: RunId
    op: RunOp
    by: str = ""


@dataclass(frozen=True, slots=True)
class RunCloneRequested:
    """A clone was asked for, already validated in full against ``spec``. Result id: the new run's id."""

    VERSION: ClassVar[int] = 1
    request: RequestId
    parent: RunId
    spec: RunSpec
    changes: tuple[tuple[str, str], ...]
    warm_start: str | None = None
    """``latest``, ``best`` or a step as text; ``None`` is a cold clone."""
    by: str = ""


@dataclass(frozen=True, slots=True)
class HeldGrant:
    """A grant that a registering client still works on or has not had acknowledged."""

    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class ClientRegistered:
    """A client (re)connected. Open grants of its name that are not in ``held`` are over."""

    VERSION: ClassVar[int] = 1
    client: ClientName
    incarnation: str
    version: str
    data_url: str
    slots: tuple[SlotSpec, ...]
    held: tuple[HeldGrant, ...] = ()
    jobs: tuple[JobId, ...] = ()
    """Jobs it still works on."""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ClientLost:
    """Its leases ran out, or it said good-bye. Its open grants are over, fenced from now on."""

    VERSION: ClassVar[int] = 1
    client: ClientName
    reason: str


@dataclass(frozen=True, slots=True)
class ClientDrainRequested:
    VERSION: ClassVar[int] = 1
    client: ClientName
    drain: bool
    """False: take work again."""
    by: str = ""


@dataclass(frozen=True, slots=True)
class SlotsOccupied:
    """Other people's processes use the devices of these slots of the client, and of no others of it."""

    VERSION: ClassVar[int] = 1
    client: ClientName
    slots: tuple[tuple[SlotId, str], ...]
    """With the accounts that the processes run as."""


@dataclass(frozen=True, slots=True)
class ChunkTrained:
    """The granted steps are done and the slot moves on; the checkpoint follows in ``ChunkCommitted``."""

    VERSION: ClassVar[int] = 1
    client: ClientName
    run: RunId
    generation: int
    reached_step: int
    step_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class ChunkCommitted:
    """A checkpoint is in as many places as it must be. ``checkpoint.step`` is the new position.

    It may be short of the grant's end: then the run was stopped there and the grant is over all the same.
    """

    VERSION: ClassVar[int] = 1
    client: ClientName
    run: RunId
    generation: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class ChunkFailed:
    VERSION: ClassVar[int] = 1
    client: ClientName
    run: RunId
    generation: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class GrantReturned:
    """The client gives back a grant of which it trained no step (stopped, drained, revoked before it began)."""

    VERSION: ClassVar[int] = 1
    client: ClientName
    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class JobRequested:
    """A verify or export was asked for. Result id: the job's id."""

    VERSION: ClassVar[int] = 1
    request: RequestId
    kind: JobKind
    run: RunId
    request_json: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class JobFinished:
    """Exactly one of ``result_json`` and ``failure`` is set. For a prepare job ``sizes`` holds one entry a planned run."""

    VERSION: ClassVar[int] = 1
    client: ClientName
    job: JobId
    result_json: str | None = None
    failure: Failure | None = None
    sizes: tuple[RunSize, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanRestored:
    """The host was set up again from a backup. Whatever was given out after that backup is over."""

    VERSION: ClassVar[int] = 1
    epoch: int
    """Seconds since the epoch of the clock when it was restored; grows with each restore (``gswarm.domain.epochs``)."""


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that an effect ``StartTimer`` set is due."""

    VERSION: ClassVar[int] = 1
    key: str
    """``sweep:<run>``: the undo window of a deletion is over."""


Event = (
    ExperimentSubmitted
    | ExperimentOpRequested
    | RunOpRequested
    | RunCloneRequested
    | ClientRegistered
    | ClientLost
    | ClientDrainRequested
    | SlotsOccupied
    | ChunkTrained
    | ChunkCommitted
    | ChunkFailed
    | GrantReturned
    | JobRequested
    | JobFinished
    | PlanRestored
    | TimerFired
)
