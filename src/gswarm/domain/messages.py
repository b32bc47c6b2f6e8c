"""What host and client say to each other on the control session, as plain types.

``proto/gswarm/v1/cluster.proto`` is the same on the wire; ``gswarm.wire.convert`` is the only place that knows both.

Reliable messages of a client (``ReliableMessage``: reports of chunks, jobs and returned grants) carry ``seq``, which grows by one
within an incarnation.
The host answers each with ``Ack`` after the journal's flush; the client keeps and resends what has no ack after a reconnect.
The host's own messages need no ack: after a reconnect the host sends what is outstanding again, and the agent ignores what it has.
"""

from __future__ import annotations

from dataclasses import dataclass

from gswarm.domain.ids import ClientName, Digest, JobId, RunId
from gswarm.domain.plan import Checkpoint, Failure, JobKind, RunSize, SlotSpec
from gswarm.domain.spec import RunSpec

# ---- client -> host -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeldGrantInfo:
    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class Register:
    """The first message of every session; answered by ``Registered`` or a status."""

    client: ClientName
    incarnation: str
    version: str
    data_url: str
    slots: tuple[SlotSpec, ...]
    held: tuple[HeldGrantInfo, ...] = ()
    jobs: tuple[JobId, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Renews every lease of the client."""

    sent_at_s: float


@dataclass(frozen=True, slots=True)
class ChunkTrainedReport:
    seq: int
    run: RunId
    generation: int
    reached_step: int
    step_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class ChunkCommittedReport:
    """The checkpoint is in the client's pool and in the second place; the host checks its own copy before it counts."""

    seq: int
    run: RunId
    generation: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class ChunkFailedReport:
    seq: int
    run: RunId
    generation: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class GrantReturnedReport:
    seq: int
    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class JobReport:
    """Exactly one of ``result_json`` and ``failure`` is set."""

    seq: int
    job: JobId
    result_json: str | None = None
    failure: Failure | None = None
    sizes: tuple[RunSize, ...] = ()


@dataclass(frozen=True, slots=True)
class OutsidersSeen:
    """Slots whose devices other people's processes use, all of them: slots that are not named are free of them. Said after each
    registration and whenever it changes, by clients whose ``outsider_policy`` is to avoid them."""

    slots: tuple[tuple[int, str], ...]
    """(slot's number, accounts)"""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """A graceful end; open grants were returned or committed before."""

    reason: str


ReliableMessage = ChunkTrainedReport | ChunkCommittedReport | ChunkFailedReport | GrantReturnedReport | JobReport
ClientMessage = Register | Heartbeat | ReliableMessage | OutsidersSeen | Goodbye

# ---- host -> client -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """The session stands. Heartbeats are due every third of ``lease_timeout_s``."""

    lease_timeout_s: float
    host_version: str
    cluster_id: str


TRUSTED_CODE_MAX = 64


@dataclass(frozen=True, slots=True)
class GrantOrder:
    """Train the run from ``from_step`` to ``to_step`` (optimizer steps, end exclusive).

    ``checkpoint`` is where to continue if the client does not hold the run hot at ``from_step``: a checkpoint with that step,
    a warm clone's start (``warm_start`` true; its step is the parent's), or ``None`` for the base.
    When the previous grant of the run on this slot is still uncommitted, ``from_step`` is that grant's end.
    """

    run: RunId
    generation: int
    slot_index: int
    from_step: int
    to_step: int
    total_steps: int
    steps_per_epoch: int
    spec: RunSpec
    base: Digest
    data: Digest
    checkpoint: Checkpoint | None
    warm_start: bool
    durability: str
    """``local`` or ``replicated``."""
    first_step: int = 0
    trusted_code: tuple[Digest, ...] = ()
    """Digests of models' code that an admin has consented to; at most ``TRUSTED_CODE_MAX``. Any other is not run."""


@dataclass(frozen=True, slots=True)
class StopOrder:
    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class RevokeOrder:
    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class DropOrder:
    run: RunId


@dataclass(frozen=True, slots=True)
class JobOrder:
    job: JobId
    kind: JobKind
    request_json: str


@dataclass(frozen=True, slots=True)
class Ack:
    """``seq`` is durable (or refused for good: the client forgets it either way)."""

    seq: int
    accepted: bool
    error_code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class SweepOrder:
    """Blobs that no root reaches may go, unless the client pins them."""

    roots: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The host asks the client to leave (disconnect)."""

    reason: str


HostMessage = Registered | GrantOrder | StopOrder | RevokeOrder | DropOrder | JobOrder | Ack | SweepOrder | Shutdown

# ---- metrics stream -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """Training metrics of one step of one run. Sent again after a crash; the store keeps one value a (run, metric, step)."""

    run: RunId
    generation: int
    step: int
    at_s: float
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class LogLine:
    run: RunId
    at_s: float
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class MetricBatch:
    """One message of the metrics stream; the host answers with the batch's ``seq`` once it is stored."""

    seq: int
    steps: tuple[StepMetrics, ...] = ()
    logs: tuple[LogLine, ...] = ()
