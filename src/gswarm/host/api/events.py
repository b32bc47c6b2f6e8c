"""The journal for people and live views: as server-sent events, and what is past in pages."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Response

from gswarm.domain.errors import InvalidInputError, NotFoundError
from gswarm.domain.ids import JobId, RequestId, RunId
from gswarm.host.api import host_models as models
from gswarm.host.api.deps import CallerDep, ServicesDep, StreamsDep
from gswarm.host.api.models import Page
from gswarm.host.api.paging import Cursor, Limit, before
from gswarm.host.api.sse import frame
from gswarm.host.event_text import describe
from gswarm.host.journal.protocol import JournalEntry
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.events import Event, TimerFired
from gswarm.scheduler.operations import SWEEP

ID_FIELDS = ("experiment", "run", "parent", "client", "job")
LOOKS_MAX = 10_000
"""Events that one call looks through; whoever asks for few of many goes on with the cursor."""


Ref = Annotated[str | None, Query(max_length=200)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are asked for: those that are about all of these, of one of the kinds. None leaves it open."""

    experiment: str | None
    run: str | None
    client: str | None
    job: str | None
    kinds: frozenset[str] | None

    def has(self, kind: str, ids: dict[str, str]) -> bool:
        """A clone is about its parent too."""
        return (
            all(ids.get(name) == wanted for name in ("experiment", "client", "job") if (wanted := getattr(self, name)) is not None)
            and (self.run is None or self.run in (ids.get("run"), ids.get("parent")))
            and (self.kinds is None or kind in self.kinds)
        )


async def _wanted(
    services: ServicesDep,
    experiment: Annotated[str | None, Query(max_length=200, description="Id or name.")] = None,
    run: Annotated[str | None, Query(max_length=200, description="Id or name.")] = None,
    client: Ref = None,
    job: Ref = None,
    kind: Annotated[list[str] | None, Query(max_length=50, description="Types of events; may repeat.")] = None,
) -> Wanted:
    state = services.loop.state
    with contextlib.suppress(NotFoundError):  # one that is gone is found by its id
        experiment = experiment and state.find_experiment(experiment).id
    with contextlib.suppress(NotFoundError):
        run = run and state.find_run(run).id
    return Wanted(experiment, run, client, job, frozenset(kind) if kind else None)


WantedDep = Annotated[Wanted, Depends(_wanted)]


async def events(
    services: ServicesDep,
    streams: StreamsDep,
    caller: CallerDep,
    wanted: WantedDep,
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
    return streams.response(_frames(services, start, wanted), caller)


async def _frames(services: ServicesDep, after_seq: int, wanted: Wanted) -> AsyncIterator[str]:
    async for entry in services.loop.subscribe(after_seq):
        view = _view(services.loop.state, entry)
        if wanted.has(view.type, view.ids):
            yield frame(entry.seq, view.type, view.model_dump())


async def past_events(services: ServicesDep, wanted: WantedDep, limit: Limit = 100, cursor: Cursor = None) -> Page[models.EventView]:
    """What happened, the newest first, of all that the journal keeps. A page may be empty although older events are about what is
    asked for: as long as there is a cursor, there are older ones."""
    state = services.loop.state
    newest, given = services.loop.seq, before(cursor)
    place = start = newest + 1 if given is None else min(given, newest + 1)
    found: list[models.EventView] = []
    while len(found) < limit and start - place < LOOKS_MAX:
        entries = await services.loop.entries_before(place)
        if not entries:
            return Page(items=found, next_cursor=None)
        for entry in reversed(entries):
            place = entry.seq
            if wanted.has(event_kind(entry.event), event_ids(state, entry.event)):
                found.append(_view(state, entry))
                if len(found) == limit:
                    break
    return Page(items=found, next_cursor=str(place) if place > services.loop.oldest + 1 else None)


def _view(state: ClusterState, entry: JournalEntry) -> models.EventView:
    return models.EventView(
        id=entry.seq, type=event_kind(entry.event), text=describe(entry.event), ids=event_ids(state, entry.event), at=entry.now_s
    )


def event_kind(event: Event) -> str:
    """``ChunkCommitted`` is ``chunk_committed``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()


def event_ids(state: ClusterState, event: Event) -> dict[str, str]:
    """Whom the event is about: its own ids, the experiment of its run or job, what a request made, and whose timer it is."""
    ids = {name: str(value) for name in ID_FIELDS if (value := getattr(event, name, None)) is not None}
    if isinstance(event, TimerFired) and event.key.startswith(SWEEP):
        ids["run"] = event.key.removeprefix(SWEEP)
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
