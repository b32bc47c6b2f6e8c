"""What every endpoint takes: the host's services, who asks, and the request id."""

from __future__ import annotations

import re
from typing import Annotated, cast
from uuid import uuid4

from fastapi import Depends, Header, Request

from gswarm.domain.errors import InvalidInputError, InvariantError
from gswarm.domain.ids import RequestId
from gswarm.host.api.sse import EventStreams
from gswarm.host.loop import Submitted
from gswarm.host.services import HostServices


def _services(request: Request) -> HostServices:
    return cast(HostServices, request.app.state.services)


def _streams(request: Request) -> EventStreams:
    return cast(EventStreams, request.app.state.streams)


def _by(request: Request) -> str:
    """Who asks, as it stands in the journal."""
    principal = request.state.principal
    return f"{principal.role}:{principal.token_id}"


def _request_key(idempotency_key: Annotated[str | None, Header(description="The same key never takes effect twice.")] = None) -> RequestId:
    if idempotency_key is None:
        return RequestId(str(uuid4()))
    if not re.fullmatch(r"[!-~]{1,128}", idempotency_key):
        raise InvalidInputError("the Idempotency-Key is not 1 to 128 visible ASCII characters", "a UUID is a good one")
    return RequestId(idempotency_key)


ServicesDep = Annotated[HostServices, Depends(_services)]
StreamsDep = Annotated[EventStreams, Depends(_streams)]
By = Annotated[str, Depends(_by)]
RequestKey = Annotated[RequestId, Depends(_request_key)]


def made(submitted: Submitted) -> str:
    """The id of what a request made."""
    if submitted.result_id is None:
        raise InvariantError("a request was accepted and made nothing")
    return submitted.result_id
