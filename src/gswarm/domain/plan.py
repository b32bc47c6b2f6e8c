"""The model of the plan: what the host knows about experiments, runs, clients and grants.

These are mutable records owned by ``gswarm.scheduler``; everybody else reads them. Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gswarm.domain.ids import ClientName, Digest, ExperimentId, JobId, RequestId, RunId, SlotId
from gswarm.domain.spec import ExperimentSpec, RunSpec

SILENT = "silent for"
"""So begins the reason why a client was lost that did not say good-bye."""


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    PRUNED = "pruned"
    DELETING = "deleting"
    DELETED = "deleted"


class RunOp(StrEnum):
    STOP = "stop"
    RESUME = "resume"
    CLONE = "clone"
    DELETE = "delete"
    RESTORE = "restore"


class ExperimentState(StrEnum):
    PREPARING = "preparing"
    """Model and data are being checked and put into the pool on a client; nothing is queued yet."""
    REJECTED = "rejected"
    """The check failed; ``Experiment.failure`` says why. Nothing was queued."""
    ACTIVE = "active"
    """Some run is neither ended nor stopped."""
    IDLE = "idle"
    """Every run has ended or is stopped; resuming or cloning one makes the experiment active again."""
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run, chunk or job failed, for people and for the retry rule."""

    code: str
    """An error code of ``gswarm.domain.errors``, or ``nan_loss``, ``trainer_died``, ``trainer_hung``, ``out_of_memory``."""
    message: str
    machine_suspect: bool = False
    """Another slot is worth a try."""
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything needed to continue a run exactly, as a manifest in the pool."""

    manifest: Digest
    step: int
    """The optimizer step it was taken after."""
    weights_digest: Digest
    """Digest of the trainable weights alone (``gswarm.training.digest``): equal weights, equal digest."""
    size_bytes: int
    metrics: tuple[tuple[str, float], ...] = ()
    """Finite values only: eval metrics at this step, and running means of training metrics since the last one."""
    holders: tuple[str, ...] = ()
    """Where the bytes are: ``host`` and client names."""

    def metric(self, name: str) -> float | None:
        return dict(self.metrics).get(name)


class GrantPhase(StrEnum):
    OPEN = "open"
    """Sent; waiting on the slot or training."""
    STOPPING = "stopping"
    """The client was told to stop at the next step."""
    TRAINED = "trained"
    """The steps are done and the slot is free; the checkpoint is on its way to the pool."""


@dataclass(slots=True)
class Grant:
    """Train run R from step a to step b, generation g. Open until committed, returned, failed or the client is lost."""

    run: RunId
    generation: int
    client: ClientName
    slots: tuple[SlotId, ...]
    from_step: int
    to_step: int
    granted_at_s: float
    phase: GrantPhase = GrantPhase.OPEN


@dataclass(slots=True)
class Run:
    id: RunId
    name: str
    experiment: ExperimentId
    spec: RunSpec
    state: RunState
    steps_per_epoch: int
    total_steps: int
    base: Digest
    """Manifest of the base model."""
    data: Digest
    """Manifest of the prepared data set."""
    train_rows: int
    eval_rows: int
    start: Checkpoint | None = None
    """Where a warm clone begins; its ``step`` is the parent's. ``None`` means from the base."""
    first_step: int = 0
    """The run's own step that training begins at: 0, or a warm clone's place in its own schedule."""
    position: int = 0
    """Committed optimizer steps. Never moves back."""
    generation: int = 0
    """Of the newest grant. Grows with every grant."""
    parent: RunId | None = None
    warm_start: str | None = None
    changes: tuple[tuple[str, str], ...] = ()
    """What a clone changed, or a search set: key and value as text."""
    grants: list[Grant] = field(default_factory=list)
    """Open ones, oldest first, contiguous. At most three: one trained and not yet committed, one training, one ahead."""
    checkpoints: list[Checkpoint] = field(default_factory=list)
    """Kept ones in step order; the last one is where the run continues."""
    history: list[tuple[int, tuple[tuple[str, float], ...]]] = field(default_factory=list)
    """(step, metrics) of every commit, kept also when the checkpoint is not."""
    home: SlotId | None = None
    """The slot that last held it and may still have it hot."""
    step_time_s: float | None = None
    """Smoothed measured seconds per optimizer step."""
    attempts: int = 0
    """Machine-suspect failures in a row; two are retried on another slot."""
    avoid_slots: tuple[SlotId, ...] = ()
    failure: Failure | None = None
    state_before_delete: RunState | None = None
    created_at_s: float = 0.0
    ended_at_s: float | None = None
    verification: str | None = None
    """The newest result of ``run verify`` as JSON text."""

    @property
    def latest(self) -> Checkpoint | None:
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def planned_position(self) -> int:
        """Where the run will be once every open grant is committed."""
        return self.grants[-1].to_step if self.grants else self.position


@dataclass(slots=True)
class Experiment:
    id: ExperimentId
    spec: ExperimentSpec
    state: ExperimentState
    planned: tuple[RunSpec, ...]
    """The expanded configurations, before they became runs; empty once they are runs."""
    runs: list[RunId] = field(default_factory=list)
    max_skew: int = 1
    """Resolved, in chunks."""
    service_s: float = 0.0
    """Slot-seconds granted so far divided by the weight, for fair share."""
    failure: Failure | None = None
    created_at_s: float = 0.0
    ended_at_s: float | None = None
    planned_changes: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Per planned run: what the search set."""


@dataclass(frozen=True, slots=True)
class SlotSpec:
    """A schedulable share of a device."""

    id: SlotId
    device: str
    """``cpu`` or ``cuda:0``."""
    threads: int = 1
    memory_bytes: int = 0
    device_name: str = ""


@dataclass(slots=True)
class Slot:
    spec: SlotSpec
    client: ClientName
    queue: list[tuple[RunId, int]] = field(default_factory=list)
    """(run, generation) of the grants that occupy it, the active one first; at most two. Trained ones have left."""
    last_run: RunId | None = None
    """The run that was granted here last; its base model is in the device's memory."""
    outsider: str = ""
    """Accounts whose processes use its device, where its client keeps work away from them. It gets none until they have left."""


class ClientState(StrEnum):
    READY = "ready"
    DRAINING = "draining"
    """Finishes what it holds, gets nothing new."""
    LOST = "lost"
    """Its leases are over. It becomes ready again when it registers."""


@dataclass(slots=True)
class Client:
    name: ClientName
    incarnation: str
    """Random, new for each client process."""
    state: ClientState
    version: str
    data_url: str
    """Where its pool answers, for example ``https://10.0.0.7:41234``; empty if it serves nothing."""
    slots: list[SlotId]
    labels: tuple[tuple[str, str], ...] = ()
    registered_at_s: float = 0.0
    lost_at_s: float | None = None
    lost_reason: str = ""

    @property
    def fell_silent(self) -> bool:
        """It is lost, and did not say good-bye."""
        return self.state is ClientState.LOST and self.lost_reason.startswith(SILENT)


@dataclass(frozen=True, slots=True)
class RunSize:
    """What preparing an experiment found out about one planned run."""

    steps_per_epoch: int
    total_steps: int
    train_rows: int
    eval_rows: int
    base: Digest
    data: Digest


class JobKind(StrEnum):
    PREPARE = "prepare"
    VERIFY = "verify"
    EXPORT = "export"


@dataclass(frozen=True, slots=True)
class Job:
    """Work for a client that is not a chunk. Lost jobs are given out again."""

    id: JobId
    kind: JobKind
    experiment: ExperimentId | None
    run: RunId | None
    request_json: str
    """The kind's own arguments (``gswarm.training.jobs``)."""
    client: ClientName | None = None
    requested_at_s: float = 0.0
    result_json: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """What a request id led to, so that saying it twice answers the same."""

    id: RequestId
    result_id: str
    digest: str
    """Of the request's content: the same id with other content is a conflict."""
