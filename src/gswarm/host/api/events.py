"""The journal as server-sent events, for people and live views."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Header, Query, Response

from gswarm.domain.errors import InvalidInputError, NotFoundError
from gswarm.domain.ids import JobId, RequestId, RunId
from gswarm.host.api.deps import CallerDep, ServicesDep, StreamsDep
from gswarm.host.api.sse import frame
from gswarm.host.people import describe
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.events import Event

ID_FIELDS = ("experiment", "run", "parent", "client", "job")


async def events(
    services: ServicesDep,
    streams: StreamsDep,
    caller: CallerDep,
    last_event_id: Annotated[int | None, Header(ge=0, description="Goes on after that event.")] = None,
    after: Annotated[int | None, Query(ge=0, description="The same for callers that cannot set headers.")] = None,
) -> Response:
    """What happens, as server-sent events from now on, or after ``Last-Event-ID``. Each has id, type, text, ids and at."""
    start = last_event_id if last_event_id is not None else after
    newest = services.loop.seq
    if start is None:
        start = newest
    if start > newest:
        raise InvalidInputError(f"there is no event {start} yet", f"the newest is {newest}")
    if start < services.loop.oldest:
        raise NotFoundError(f"not all events behind {start} are kept any more", f"follow them from {services.loop.oldest} on")
    return streams.response(_frames(services, start), caller)


async def _frames(services: ServicesDep, after_seq: int) -> AsyncIterator[str]:
    async for entry in services.loop.subscribe(after_seq):
        kind = event_kind(entry.event)
        data = {
            "id": entry.seq,
            "type": kind,
            "text": describe(entry.event),
            "ids": event_ids(services.loop.state, entry.event),
            "at": entry.now_s,
        }
        yield frame(entry.seq, kind, data)


def event_kind(event: Event) -> str:
    """``ChunkCommitted`` is ``chunk_committed``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()


def event_ids(state: ClusterState, event: Event) -> dict[str, str]:
    """Whom the event is about: its own ids, the experiment of its run or job, and what a request made."""
    ids = {name: str(value) for name in ID_FIELDS if (value := getattr(event, name, None)) is not None}
    request: RequestId | None = getattr(event, "request", None)
    made = state.result_of(request) if request is not None else None
    if made is not None:
        ids[_kind_of(state, made)] = made
    job = state.jobs.get(JobId(ids.get("job", "")))
    run = state.runs.get(RunId(ids.get("run") or ids.get("parent") or ""))
    if run is not None:
        ids["experiment"] = run.experiment
    elif job is not None and job.experiment is not None:
        ids["experiment"] = job.experiment
    return ids


def _kind_of(state: ClusterState, made: str) -> str:
    if RunId(made) in state.runs:
        return "run"
    return "job" if JobId(made) in state.jobs else "experiment"
