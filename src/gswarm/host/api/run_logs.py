"""A run's own log, in pages or followed as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Header, Query, Response

from gswarm.domain.ids import RunId
from gswarm.host.api import models
from gswarm.host.api.deps import CallerDep, ServicesDep, StreamsDep
from gswarm.host.api.sse import frame
from gswarm.profiler.run_logs import NumberedLine

LINES_MAX = 5000


def _line(numbered: NumberedLine) -> models.LogLineView:
    number, line = numbered
    return models.LogLineView(line=number, at=line.at_s, level=line.level, text=line.text)


async def run_logs(
    services: ServicesDep,
    streams: StreamsDep,
    caller: CallerDep,
    run: str,
    after_line: Annotated[int, Query(ge=0, description="Only lines with a greater number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=LINES_MAX)] = 1000,
    follow: Annotated[bool, Query(description="Server-sent events: one a line, with the line's number as id.")] = False,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> models.LogView | Response:
    """Lines of a run's log, oldest first. Numbers are never used twice; a gap means that lines were rotated away."""
    found = services.loop.state.find_run(run).id
    if follow:
        return streams.response(_frames(services, found, after_line if last_event_id is None else last_event_id), caller)
    lines = [_line(numbered) for numbered in await asyncio.to_thread(services.run_logs.read, found, after_line, limit)]
    return models.LogView(run=found, lines=lines, next_line=lines[-1].line if lines else after_line)


async def _frames(services: ServicesDep, run: RunId, after_line: int) -> AsyncIterator[str]:
    loop, appended = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(appended.set)

    with services.run_logs.watched(run, wake):
        while True:
            appended.clear()
            lines = await asyncio.to_thread(services.run_logs.read, run, after_line, LINES_MAX)
            for numbered in lines:
                view = _line(numbered)
                yield frame(view.line, "log", view.model_dump())
                after_line = view.line
            if not lines:
                await appended.wait()
