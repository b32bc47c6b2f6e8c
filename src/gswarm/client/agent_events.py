"""What happens to a client's agent (events, past tense) and what it wants done (effects, imperative).

A grant is named by ``(run, generation)``. A trainer process is named by its slot and ``epoch``, which grows with every process that
is started on the slot, so that the last words of a dead process are never taken for those of its successor.
"""

from __future__ import annotations

from dataclasses import dataclass

from gswarm.domain.ids import Digest, JobId, RunId
from gswarm.domain.messages import Ack, GrantOrder, JobOrder, ReliableMessage
from gswarm.domain.plan import Checkpoint, Failure, RunSize
from gswarm.training.protocol import AbortRange, DropRun, RangeDropped, RangeFailed, RangeStarted, RangeTrained, Ready, StopRange

INCOMPLETE_CODE = "incomplete"
"""The error code of an acknowledgement that says: the host's copy of the checkpoint is not whole, send the bytes again."""


@dataclass(frozen=True, slots=True)
class InputDirs:
    """Where a grant's inputs lie on this machine. Read-only folders."""

    base_dir: str
    data_dir: str
    checkpoint_dir: str | None


# ---- events: the host ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """The host accepted the registration."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The session ended; reports wait until the next ``Connected``."""


@dataclass(frozen=True, slots=True)
class GrantReceived:
    order: GrantOrder


@dataclass(frozen=True, slots=True)
class StopReceived:
    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class RevokeReceived:
    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class DropReceived:
    run: RunId


@dataclass(frozen=True, slots=True)
class JobReceived:
    order: JobOrder


@dataclass(frozen=True, slots=True)
class Acked:
    ack: Ack


# ---- events: this machine --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InputsReady:
    run: RunId
    generation: int
    dirs: InputDirs


@dataclass(frozen=True, slots=True)
class InputsFailed:
    """The inputs cannot be had, and waiting for the network would not help."""

    run: RunId
    generation: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class TrainerSaid:
    slot_index: int
    epoch: int
    event: Ready | RangeStarted | RangeTrained | RangeDropped | RangeFailed


@dataclass(frozen=True, slots=True)
class TrainerDied:
    """The process is gone: it exited, was killed by a signal, or hung and was killed by this client."""

    slot_index: int
    epoch: int
    failure: Failure
    is_accounted_for: bool = False
    """The process itself reported what failed, or gave back what it had, before it ended: no other range is to blame."""


@dataclass(frozen=True, slots=True)
class CheckpointStored:
    """The checkpoint is in this client's pool and, for a replicated one, in the host's."""

    run: RunId
    generation: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class CheckpointStoreFailed:
    """The checkpoint cannot be stored, and waiting for the network would not help."""

    run: RunId
    generation: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class JobDone:
    """Exactly one of ``result_json`` and ``failure`` is set."""

    job: JobId
    result_json: str | None = None
    failure: Failure | None = None
    sizes: tuple[RunSize, ...] = ()


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """Leave in good order: stop at the next step, give back what has not begun, wait for the acknowledgements."""

    reason: str


@dataclass(frozen=True, slots=True)
class GraceOver:
    """The time for leaving in good order is up."""


AgentEvent = (
    Connected
    | Disconnected
    | GrantReceived
    | StopReceived
    | RevokeReceived
    | DropReceived
    | JobReceived
    | Acked
    | InputsReady
    | InputsFailed
    | TrainerSaid
    | TrainerDied
    | CheckpointStored
    | CheckpointStoreFailed
    | JobDone
    | ShutdownRequested
    | GraceOver
)

# ---- effects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FetchInputs:
    """Bring base, data and checkpoint here, pin them for the grant, unpack them; answer ``InputsReady`` or ``InputsFailed``.

    Network trouble is waited out, not answered. Replaces an earlier fetch of the same grant.
    """

    run: RunId
    generation: int
    base: Digest
    data: Digest
    checkpoint: Checkpoint | None


@dataclass(frozen=True, slots=True)
class StartTrainer:
    slot_index: int
    epoch: int


@dataclass(frozen=True, slots=True)
class KillTrainer:
    """Kill the process; its end is not reported."""

    slot_index: int
    epoch: int


@dataclass(frozen=True, slots=True)
class TrainGrant:
    """Send the range to the trainer process, with an empty folder for its snapshot."""

    slot_index: int
    epoch: int
    order: GrantOrder
    dirs: InputDirs


@dataclass(frozen=True, slots=True)
class SendToTrainer:
    slot_index: int
    epoch: int
    command: StopRange | AbortRange | DropRun


@dataclass(frozen=True, slots=True)
class StoreCheckpoint:
    """Ingest the snapshot, push it to the host if ``replicate``; answer ``CheckpointStored`` or ``CheckpointStoreFailed``."""

    run: RunId
    generation: int
    snapshot: RangeTrained
    replicate: bool


@dataclass(frozen=True, slots=True)
class PushCheckpoint:
    """The host misses bytes of a checkpoint that is in this client's pool: push again, then answer ``CheckpointStored``."""

    run: RunId
    generation: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class DiscardSnapshot:
    """Nobody wants this snapshot."""

    snapshot_dir: str


@dataclass(frozen=True, slots=True)
class Release:
    """The grant is over for this client: cancel its transfers, remove its snapshot, let go of its pins."""

    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class SendReport:
    message: ReliableMessage


@dataclass(frozen=True, slots=True)
class RunJob:
    order: JobOrder


@dataclass(frozen=True, slots=True)
class CancelJob:
    job: JobId


@dataclass(frozen=True, slots=True)
class Leave:
    """Say good-bye and end."""

    reason: str


AgentEffect = (
    FetchInputs
    | StartTrainer
    | KillTrainer
    | TrainGrant
    | SendToTrainer
    | StoreCheckpoint
    | PushCheckpoint
    | DiscardSnapshot
    | Release
    | SendReport
    | RunJob
    | CancelJob
    | Leave
)
