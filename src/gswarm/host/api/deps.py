"""What every endpoint takes: the host's services, who asks, and the request id."""

from __future__ import annotations

import re
from typing import Annotated, cast
from uuid import uuid4

from fastapi import Depends, Header, Request

from gswarm.domain.errors import InvalidInputError, InvariantError
from gswarm.domain.ids import RequestId
from gswarm.host.api.gate import Caller, Gate
from gswarm.host.api.shield import RequestNote
from gswarm.host.api.sse import EventStreams
from gswarm.host.loop import Submitted
from gswarm.host.services import HostServices


def _services(request: Request) -> HostServices:
    return cast(HostServices, request.app.state.services)


def _streams(request: Request) -> EventStreams:
    return cast(EventStreams, request.app.state.streams)


def _gate(request: Request) -> Gate:
    return cast(Gate, request.app.state.gate)


def _caller(request: Request) -> Caller:
    return cast(Caller, request.state.principal)


def _by(request: Request) -> str:
    """Who asks, as it stands in the journal."""
    return _caller(request).who


def _note(request: Request) -> RequestNote:
    return cast(RequestNote, request.state.note)


def _request_key(
    request: Request,
    idempotency_key: Annotated[str | None, Header(description="The same key never takes effect twice.")] = None,
) -> RequestId:
    if idempotency_key is None:
        return RequestId(str(uuid4()))
    if not re.fullmatch(r"[!-~]{1,128}", idempotency_key):
        raise InvalidInputError("the Idempotency-Key is not 1 to 128 visible ASCII characters", "a UUID is a good one")
    key = RequestId(idempotency_key)
    note = _note(request)
    note.key, note.was_known = key, _services(request).loop.state.result_of(key) is not None
    return key


ServicesDep = Annotated[HostServices, Depends(_services)]
StreamsDep = Annotated[EventStreams, Depends(_streams)]
GateDep = Annotated[Gate, Depends(_gate)]
CallerDep = Annotated[Caller, Depends(_caller)]
Note = Annotated[RequestNote, Depends(_note)]
By = Annotated[str, Depends(_by)]
RequestKey = Annotated[RequestId, Depends(_request_key)]


def made(submitted: Submitted) -> str:
    """The id of what a request made."""
    if submitted.result_id is None:
        raise InvariantError("a request was accepted and made nothing")
    return submitted.result_id
