"""What the REST API answers. Times are seconds since the epoch (``*_at``), durations end in ``_s``, sizes in ``_bytes``."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Model, Generic[T]):
    items: list[T]
    next_cursor: str | None = Field(None, description="Pass it as ``cursor`` for the next page; null on the last one.")


class Problem(Model):
    """Every error's body, as ``application/problem+json``."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What is wrong.")
    code: str = Field(description="Stable name of the kind of error.")
    hint: str = Field("", description="What to do about it.")
    possible: list[str] = Field([], description="Operations that the state allows now.")


class FailureView(Model):
    code: str
    message: str
    log_tail: str = ""


class MetricView(Model):
    name: str
    goal: str


class BestView(Model):
    """The best value of the experiment's metric so far."""

    metric: str
    value: float
    step: int
    checkpoint: str | None = Field(None, description="Manifest digest, if that checkpoint is kept.")


class GrantView(Model):
    generation: int
    client: str
    slot: str
    from_step: int
    to_step: int
    phase: str
    granted_at: float


class CheckpointView(Model):
    step: int
    manifest: str
    weights_digest: str
    size_bytes: int
    metrics: dict[str, float]
    holders: list[str]
    latest: bool
    best: bool


class StartView(Model):
    """The checkpoint that a warm clone began with."""

    step: int = Field(description="The parent's step.")
    manifest: str
    weights_digest: str


class RunView(Model):
    id: str
    name: str
    experiment: str
    state: str
    possible: list[str] = Field(description="Operations that the state allows now.")
    refused: dict[str, str] = Field(description="The other operations, and why the state does not allow them.")
    position: int = Field(description="Committed optimizer steps.")
    current_step: int = Field(description="Newest step that a training metric is known of; at least the position.")
    first_step: int
    total_steps: int
    steps_per_epoch: int
    epoch: float = Field(description="Passes over the data so far, by current_step.")
    chunks_done: int
    chunks_total: int
    changes: dict[str, str] = Field(description="What the search or the clone set.")
    metrics: dict[str, float] = Field(description="Newest value of every metric.")
    best: BestView | None
    slot: str | None = Field(description="Where it trains now.")
    home: str | None = Field(description="The slot that last held it.")
    grants: list[GrantView]
    generation: int
    step_time_s: float | None
    eta_s: float | None = Field(description="Training time that is left on one slot.")
    failure: FailureView | None
    parent: str | None
    warm_start: str | None
    start: StartView | None = Field(description="Where a warm clone began; null for others.")
    verification: dict[str, Any] | None = Field(description="The newest result of verify.")
    checkpoints: int
    created_at: float
    ended_at: float | None
    spec: dict[str, Any]


class ExperimentView(Model):
    id: str
    name: str
    state: str
    possible: list[str] = Field(description="Operations that are possible for at least one run.")
    runs: int = Field(description="Runs that are not deleted; the planned number while preparing.")
    states: dict[str, int] = Field(description="Runs by state.")
    steps_done: int
    steps_total: int
    eta_s: float | None = Field(description="An estimate from measured step times over the slots that are ready.")
    metric: MetricView
    best: BestView | None
    best_run: str | None
    max_skew: int
    priority: int
    failure: FailureView | None
    created_at: float
    ended_at: float | None
    spec: dict[str, Any]


class PlannedRun(Model):
    changes: dict[str, str]
    spec: dict[str, Any]


class ValidationView(Model):
    """What submitting this file would do."""

    name: str
    spec: dict[str, Any] = Field(description="The file in canonical form.")
    notes: list[str] = Field(description="Aliases that were understood, and the like.")
    runs: list[PlannedRun]


class ResultRow(Model):
    rank: int | None = Field(description="null while the metric has no value.")
    id: str = Field(description="Of the run.")
    name: str
    state: str
    changes: dict[str, str]
    value: float | None = Field(description="Best value of the metric.")
    step: int | None = Field(description="The step of that value.")
    metrics: dict[str, float] = Field(description="All metrics of that step.")
    position: int
    total_steps: int
    checkpoint: str | None
    weights_digest: str | None
    holders: list[str]


class ResultsView(Model):
    experiment: str
    metric: MetricView
    rows: list[ResultRow]


class ParameterShare(Model):
    name: str
    share: float = Field(description="0..1; all together are 1.")


class ImportanceView(Model):
    """Which parameters made the difference between the runs, largest share first; empty while nothing can be said."""

    experiment: str
    metric: MetricView
    runs: int = Field(description="Runs with a value that were compared.")
    runs_min: int = Field(description="With fewer nothing is said.")
    parameters: list[ParameterShare]


class TimelineChunk(Model):
    """One commit: the steps since the commit before."""

    run: str
    from_step: int
    to_step: int
    metrics: dict[str, float]
    checkpoint_kept: bool


class TimelineView(Model):
    experiment: str
    chunks: list[TimelineChunk]


WARM_START_CHARS_MAX = 19
"""As many digits as the greatest step has."""


class CloneRequest(Model):
    set: dict[str, Any] = Field({}, description="Keys of the run's spec to change.")
    warm_start: Annotated[str, Field(max_length=WARM_START_CHARS_MAX)] | int | None = Field(
        None, description="latest, best, a step, or null for a cold clone."
    )


class PlannedCloneView(Model):
    """The clone that a request would make."""

    parent: str
    changes: dict[str, str] = Field(description="Keys whose value would differ from the parent's, with the new value.")
    start: StartView | None = Field(description="The parent's checkpoint that it would begin with; null for a cold clone.")
    first_step: int
    total_steps: int
    spec: dict[str, Any]


class ExportRequest(Model):
    format: str = "adapter"
    checkpoint: str | int = Field("best", description="best, latest or a step.")


class SeriesView(Model):
    metric: str
    points: list[tuple[int, float | None, float]] = Field(description="(step, value, at) in step order; null where not finite.")


class MetricsView(Model):
    run: str
    metrics: list[str]
    series: list[SeriesView]


class CurveView(Model):
    """A metric of one run, column by column."""

    run: str
    steps: list[int]
    values: list[float | None] = Field(description="null where not finite.")
    at: list[float] | None = Field(description="null for metrics of evaluations, which come with commits.")


class CurvesView(Model):
    experiment: str
    metric: str
    metrics: list[str] = Field(description="Every metric that some of the runs have.")
    curves: list[CurveView]


class LogLineView(Model):
    line: int
    at: float
    level: str
    text: str


class LogView(Model):
    run: str
    lines: list[LogLineView]
    next_line: int = Field(description="Pass it as ``after_line`` for what follows.")


class ExplainView(Model):
    """Why something is where it is."""

    id: str
    state: str
    code: str = Field(description="Stable name of the reason.")
    text: str
    details: dict[str, str]


class JobView(Model):
    id: str
    kind: str
    state: str = Field(description="queued, running, done or failed.")
    experiment: str | None
    run: str | None
    client: str | None
    requested_at: float
    request: dict[str, Any]
    result: dict[str, Any] | None
    failure: FailureView | None


class SlotView(Model):
    id: str
    device: str
    device_name: str
    threads: int
    memory_bytes: int
    runs: list[str] = Field(description="Runs that hold it, the one that trains first.")
    explanation: str = Field(description="Why it trains what it trains, or nothing.")


class WaitingView(Model):
    run: str
    name: str
    experiment: str
    place: int = Field(description="1 is next.")
    position: int = Field(description="Committed optimizer steps.")
    total_steps: int
    since: float | None = Field(description="When it last left a slot, or was made if it never had one; null: not known.")
    code: str = Field(description="Why it waits, for programs.")
    text: str = Field(description="Why it waits, for people.")


class WaitingList(Model):
    items: list[WaitingView]
    total: int = Field(description="Runs that wait, those that are not listed too.")


class ClientView(Model):
    name: str
    state: str
    connected: bool
    version: str
    slots: list[SlotView]
    labels: dict[str, str]
    registered_at: float
    lost_at: float | None
    lost_reason: str
    certificate_expires_at: float | None = Field(description="Of a connected client; it renews its certificate by itself.")


class PoolFile(Model):
    name: str
    digest: str
    size_bytes: int


class PoolFilesView(Model):
    manifest: str
    files: list[PoolFile]
