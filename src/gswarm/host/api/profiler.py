"""What sensors measured: the catalog, devices, newest values, charts and their marks. Sessions are in ``profiler_sessions``."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated

from fastapi import Query, Response

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName, RunId, SlotId
from gswarm.domain.plan import Slot
from gswarm.host.api import profiler_models as models
from gswarm.host.api.deps import ServicesDep
from gswarm.host.profiling.services import ProfilerServices
from gswarm.host.timeline.run_spans import run_spans, slot_gpus
from gswarm.profiler.answer_json import encode_answer
from gswarm.profiler.catalog import BY_NAME, METRICS, METRICS_HINT
from gswarm.profiler.freshness import Freshness, clock_offset_s
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.sample_store import Aggregate, By, SampleQuery, Span

DEFAULT_RANGE_S = 300.0

Metrics = Annotated[list[str] | None, Query(max_length=20, description="Names of the catalog; may repeat.")]
Names = Annotated[str | None, Query(max_length=4000, description="Several with commas between them; all by default.")]
From = Annotated[float, Query(alias="from", allow_inf_nan=False, description="Seconds since the epoch, or negative: seconds before now.")]
To = Annotated[float, Query(allow_inf_nan=False, description="The same; 0 is now.")]


async def list_metrics() -> models.MetricList:
    """Everything that can be measured, with units. What a machine's sensors do not have is never there."""
    return models.MetricList(
        items=[
            models.CatalogMetric(name=metric.name, unit=metric.unit, group=metric.group, kind=metric.kind, help=metric.help)
            for metric in METRICS
        ]
    )


async def list_devices(services: ServicesDep) -> models.DeviceList:
    """The devices of all clients as they were last described, with the processes on them. Times are by the host's clock."""
    return models.DeviceList(items=await asyncio.to_thread(_devices, services.profiler.samples))


def _devices(store: ParquetSampleStore) -> list[models.DeviceView]:
    newest = store.latest()
    return [
        models.DeviceView(
            client=client,
            device=device.device,
            kind=device.kind,
            name=device.name,
            uuid=device.uuid,
            memory_total_bytes=device.memory_total_bytes,
            parent=device.parent,
            seen_at=seen_s + clock_offset_s(newest, client),
            processes=[
                models.ProcessView(
                    pid=process.pid,
                    account=process.account,
                    command=process.command,
                    owner=process.owner,
                    memory_used_bytes=process.memory_used_bytes,
                    sm_utilization=process.sm_utilization,
                )
                for process in device.processes
            ],
        )
        for client, device, seen_s in store.devices()
    ]


async def latest(services: ServicesDep, metric: Metrics = None) -> models.LatestView:
    """The newest value of every series: all metrics, or those that are named. What is too old to be about now is null.

    Times are by the host's clock.
    """
    _check_metrics(metric)
    return await asyncio.to_thread(_latest, services.profiler, frozenset(metric or BY_NAME), services.clock())


def _latest(profiler: ProfilerServices, metrics: frozenset[str], now_s: float) -> models.LatestView:
    newest = profiler.samples.latest()
    fresh = Freshness(newest, now_s, lambda client: dict(profiler.sessions.intervals(client)))
    series: dict[tuple[str, str, str], models.LatestSeries] = {}
    for key, (at_s, value) in newest.items():
        if key.metric not in metrics:
            continue
        is_fresh = fresh.is_fresh(key, at_s)
        if key.owner and not is_fresh:
            continue  # whoever it was is gone
        line = series.get((key.client, key.device, key.owner))
        if line is None:
            line = models.LatestSeries(client=key.client, device=key.device, owner=key.owner, values={}, at=at_s)
            series[key.client, key.device, key.owner] = line
        line.values[key.metric] = value if is_fresh and math.isfinite(value) else None
        line.at = max(line.at, at_s)
    for line in series.values():
        line.at += clock_offset_s(newest, ClientName(line.client))
    return models.LatestView(at=now_s, series=[series[key] for key in sorted(series)])


async def query(
    services: ServicesDep,
    metric: Metrics = None,
    clients: Names = None,
    gpus: Annotated[str | None, Query(max_length=4000, description="Devices, such as gpu:0 or just 0; all by default.")] = None,
    runs: Annotated[str | None, Query(max_length=4000, description="Only what these runs had, while they had it.")] = None,
    owners: Annotated[str | None, Query(max_length=4000, description="Whose shares of GPUs, such as run:r1 or outsider:NAME.")] = None,
    from_: From = -DEFAULT_RANGE_S,
    to: To = 0.0,
    points: Annotated[int, Query(ge=4, le=20_000, description="Points a line at most.")] = 500,
    aggregate: Aggregate = Aggregate.NONE,
    by: By = By.DEVICE,
) -> Response:
    """A chart: lines of points with mean, minimum and maximum. Without a metric the utilisation of the GPUs."""
    _check_metrics(metric)
    from_s, to_s = range_of(from_, to, services.clock())
    spans = None
    if runs is not None:
        wanted = [services.state.find_run(name).id for name in _split(runs)]
        slots = dict(services.state.slots)
        spans = await asyncio.to_thread(_spans, services.profiler, wanted, slots, from_s, to_s)
    asked = SampleQuery(
        metrics=tuple(dict.fromkeys(metric or ("gpu_utilization",))),
        from_s=from_s,
        to_s=to_s,
        points=points,
        clients=frozenset(_split(clients)),
        devices=frozenset(f"gpu:{name}" if name.isdigit() else name for name in _split(gpus)),
        owners=frozenset(_split(owners)),
        spans=spans,
        aggregate=aggregate,
        by=by,
    )
    body = await asyncio.to_thread(_answer, services.profiler.samples, asked)
    return Response(body, media_type="application/json")


def _spans(profiler: ProfilerServices, runs: list[RunId], slots: dict[SlotId, Slot], from_s: float, to_s: float) -> tuple[Span, ...]:
    gpus = slot_gpus(slots, profiler.samples.devices())
    return run_spans(runs, profiler.chronicle.spans(from_s, to_s, runs) if runs else (), gpus, from_s, to_s)


def _answer(store: ParquetSampleStore, query: SampleQuery) -> bytes:
    return b"".join(encode_answer(store.query(query)))


async def list_annotations(services: ServicesDep, from_: From = -DEFAULT_RANGE_S, to: To = 0.0) -> models.NoteList:
    """What happened in a range of time: operations of people, checkpoints, evaluations, failures, clients that came and went."""
    from_s, to_s = range_of(from_, to, services.clock())
    notes = await asyncio.to_thread(services.profiler.chronicle.notes, from_s, to_s)
    return models.NoteList(
        items=[
            models.NoteView(
                at=note.at_s, kind=note.kind.value, text=note.text, experiment=note.experiment, run=note.run, client=note.client
            )
            for note in notes.items
        ],
        left_out=notes.left_out,
    )


def range_of(from_s: float, to_s: float, now_s: float) -> tuple[float, float]:
    """In seconds since the epoch; negative ones and 0 count from now. Raises InvalidInputError."""
    from_s = from_s if from_s > 0 else now_s + from_s
    to_s = to_s if to_s > 0 else now_s + to_s
    if not 0 <= from_s < to_s:
        raise InvalidInputError("the range of time has no length", "from lies before to; from=-300 are the last five minutes")
    return from_s, to_s


def _check_metrics(names: list[str] | None) -> None:
    unknown = [name for name in names or () if name not in BY_NAME]
    if unknown:
        raise InvalidInputError(f"there is no metric {unknown[0][:80]!r}", METRICS_HINT)


def _split(text: str | None) -> list[str]:
    return [name for name in (part.strip() for part in (text or "").split(",")) if name]
