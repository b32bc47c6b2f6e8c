"""Profiler sessions: start, stop, look, sum up, take away. All that reads many samples runs in threads."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum

from fastapi import Response
from fastapi.responses import StreamingResponse

from gswarm.domain.errors import StorageError
from gswarm.host.api import profiler_models as models
from gswarm.host.api.deps import Note, ServicesDep
from gswarm.host.profiling.session_summary import SessionSummary, summarize
from gswarm.host.profiling.sessions import ProfilerSession
from gswarm.profiler.export import Selection, count_values, csv_pieces, json_pieces, parquet_pieces
from gswarm.profiler.report import Fact, report_pieces


class ExportFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"
    HTML = "html"


_MEDIA = {
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
    ExportFormat.JSON: "application/json",
    ExportFormat.HTML: "text/html; charset=utf-8",
}


async def list_sessions(services: ServicesDep) -> models.SessionList:
    """All sessions, the newest first."""
    sessions = services.profiler.sessions.items()
    return models.SessionList(items=[_view(session) for session in sessions])


async def start_session(services: ServicesDep, response: Response, note: Note, body: models.SessionRequest) -> models.SessionView:
    """Begin a session now: clients sample at its interval until it is stopped."""
    session = await asyncio.to_thread(
        services.profiler.sessions.start,
        body.name,
        body.interval_s,
        tuple(body.metrics or ()),
        tuple(body.clients or ()),
        body.metric_intervals_s or {},
    )
    response.headers["Location"] = f"/api/v1/profiler/sessions/{session.name}"
    note.detail = f"made {session.name}"
    return _view(session)


async def get_session(services: ServicesDep, name: str) -> models.SessionView:
    """One session, with the number of values that are kept of it now."""
    session = services.profiler.sessions.get(name)
    return _view(await asyncio.to_thread(_counted, services, session))


async def stop_session(services: ServicesDep, name: str) -> models.SessionView:
    """End a session now. Its samples stay as long as all others do; what clients have not sent yet still comes."""
    session = await asyncio.to_thread(services.profiler.sessions.stop, name)
    return _view(session)


async def delete_session(services: ServicesDep, name: str) -> models.SessionView:
    """Forget a session; its samples stay as long as all others do."""
    session = services.profiler.sessions.get(name)
    await asyncio.to_thread(services.profiler.sessions.delete, name)
    return _view(session)


async def session_summary(services: ServicesDep, name: str) -> models.SummaryView:
    """GPU-hours, energy and memory of each run in the session, and when slots trained nothing, and why."""
    found = await _summary(services, services.profiler.sessions.get(name))
    return models.SummaryView(
        runs=[
            models.RunSummary(
                run=run.run,
                name=run.name,
                gpu_hours=run.gpu_hours,
                slot_hours=run.slot_hours,
                energy_wh=run.energy_wh,
                memory_mean_bytes=run.memory_mean_bytes,
                memory_peak_bytes=run.memory_peak_bytes,
                utilization_mean=run.utilization_mean,
                idle_share=run.idle_share,
            )
            for run in found.runs
        ],
        bubbles=[
            models.BubbleView(client=one.client, device=one.device, from_=one.from_s, to=one.to_s, cause=one.cause.value)
            for one in found.bubbles
        ],
        causes=[
            models.CauseView(cause=cause.value, count=one.count, total_s=one.total_s, longest_s=one.longest_s)
            for cause, one in found.causes().items()
        ],
        left_out=found.left_out,
    )


async def export_session(services: ServicesDep, name: str, format: ExportFormat = ExportFormat.CSV) -> Response:
    """All samples of a session, or a report about it, as a file."""
    session = services.profiler.sessions.get(name)
    store = services.profiler.samples
    selection = _selection(services, session)
    match format:
        case ExportFormat.CSV:
            pieces = csv_pieces(store, selection)
        case ExportFormat.JSON:
            pieces = json_pieces(store, selection, session.name)
        case ExportFormat.PARQUET:
            pieces = parquet_pieces(store, selection)
        case ExportFormat.HTML:
            summary = await _summary(services, session)
            facts = [Fact("interval", session.interval_text), Fact("clients", ", ".join(session.clients) or "all")]
            pieces = report_pieces(store, selection, session.name, facts, summary.tables())
    headers = {"Content-Disposition": f'attachment; filename="{session.name}.{format}"'}
    return StreamingResponse(pieces, media_type=_MEDIA[format], headers=headers)


def _selection(services: ServicesDep, session: ProfilerSession) -> Selection:
    from_s, to_s = session.range_s(services.clock())
    return Selection(from_s, to_s, frozenset(session.metrics), frozenset(session.clients))


async def _summary(services: ServicesDep, session: ProfilerSession) -> SessionSummary:
    names = {run.id: run.name for run in services.state.runs.values()}
    slots = dict(services.state.slots)
    return await asyncio.to_thread(summarize, services.profiler, _selection(services, session), slots, names)


def _counted(services: ServicesDep, session: ProfilerSession) -> ProfilerSession:
    """Counted anew each time: what clients measured before it ended may come at any time, and what is old goes."""
    samples = count_values(services.profiler.samples, _selection(services, session))
    if session.stopped_s is not None:
        with suppress(StorageError):  # it is only for the list of all
            services.profiler.sessions.counted(session.name, samples)
    return replace(session, samples=samples)


def _view(session: ProfilerSession) -> models.SessionView:
    return models.SessionView(
        name=session.name,
        state="running" if session.stopped_s is None else "stopped",
        interval_s=session.interval_s,
        other_intervals_s=session.other_intervals_s,
        metrics=list(session.metrics),
        clients=list(session.clients),
        started_at=session.started_s,
        stopped_at=session.stopped_s,
        samples=session.samples,
    )
