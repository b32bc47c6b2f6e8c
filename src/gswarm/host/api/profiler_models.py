"""What the profiler's routes take and answer. Times are seconds since the epoch; null is a sensor that had no answer, or a gap."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class CatalogMetric(_Model):
    """A metric of the catalog."""

    name: str
    unit: str
    group: str
    kind: str
    help: str


class MetricList(_Model):
    items: list[CatalogMetric]


class ProcessView(_Model):
    pid: int
    account: str
    command: str
    owner: str
    memory_used_bytes: int | None
    sm_utilization: float | None


class DeviceView(_Model):
    client: str
    device: str
    kind: str
    name: str
    uuid: str
    memory_total_bytes: int | None
    parent: str
    seen_at: float
    processes: list[ProcessView]


class DeviceList(_Model):
    items: list[DeviceView]


class LatestSeries(_Model):
    client: str
    device: str
    owner: str
    values: dict[str, float | None]
    at: float


class LatestView(_Model):
    at: float
    series: list[LatestSeries]


class SeriesLine(_Model):
    """``at``, ``mean``, ``min`` and ``max`` are of equal length."""

    client: str
    device: str
    owner: str
    run: str
    metric: str
    unit: str
    at: list[float]
    mean: list[float | None]
    min: list[float | None]
    max: list[float | None]


class QueryView(_Model):
    """``step_s`` is the width of a point; 0 where points are samples."""

    from_: Annotated[float, Field(alias="from")]
    to: float
    step_s: float
    series: list[SeriesLine]


class NoteView(_Model):
    at: float
    kind: Literal["op", "checkpoint", "eval", "failure", "client"]
    text: str
    experiment: str | None
    run: str | None
    client: str | None


class NoteList(_Model):
    """``left_out`` counts older ones of the kinds that have more than there is room for."""

    items: list[NoteView]
    left_out: int


class SessionRequest(_Model):
    """A named range of time that begins now."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    interval_s: Annotated[float, Field(allow_inf_nan=False, description="Between samples, 0.1 to 1; all are kept.")] = 1.0
    metrics: Annotated[list[str] | None, Field(max_length=100, description="Only these; all by default.")] = None
    clients: Annotated[list[str] | None, Field(max_length=1000, description="Only these; all by default.")] = None
    metric_intervals_s: Annotated[
        dict[str, Annotated[float, Field(allow_inf_nan=False)]] | None,
        Field(max_length=100, description="Of single metrics, instead of interval_s."),
    ] = None


class SessionView(_Model):
    name: str
    state: Literal["running", "stopped"]
    interval_s: float
    other_intervals_s: Annotated[
        dict[str, float],
        Field(description="Its metrics that are not sampled at interval_s: asked for so, or their sensors are slower."),
    ]
    metrics: list[str]
    clients: list[str]
    started_at: float
    stopped_at: float | None
    samples: Annotated[int | None, Field(description="Values of it, as counted when it was last shown; null where nobody looked yet.")]


class SessionList(_Model):
    items: list[SessionView]


class RunSummary(_Model):
    run: str
    name: str
    gpu_hours: float
    slot_hours: float
    energy_wh: float | None
    memory_mean_bytes: float | None
    memory_peak_bytes: float | None
    utilization_mean: float | None
    idle_share: float | None


Cause = Literal[
    "no_work",
    "none_fits",
    "kept_for_gang",
    "waiting",
    "swap",
    "stopped",
    "outsiders",
    "drained",
    "client_lost",
    "client_left",
    "unknown",
]


class BubbleView(_Model):
    """A slot that trained nothing for a while."""

    client: str
    device: str
    from_: Annotated[float, Field(alias="from")]
    to: float
    cause: Cause


class CauseView(_Model):
    """All bubbles of one cause together."""

    cause: Cause
    count: int
    total_s: float
    longest_s: float


class SummaryView(_Model):
    """``bubbles`` are the longest; ``left_out`` counts the others. ``causes`` has them all."""

    runs: list[RunSummary]
    bubbles: list[BubbleView]
    causes: list[CauseView]
    left_out: int
