"""Server-sent events (WHATWG HTML, 9.2): framing, keepalive, end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from gswarm.domain.errors import GswarmError

_log = logging.getLogger("gswarm.host.api")

KEEPALIVE_S = 15.0
"""A comment is sent after that long without an event, so that proxies keep the connection and a dead reader is noticed."""


def frame(event_id: int, kind: str, data: dict[str, Any]) -> str:
    return f"id: {event_id}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def event_stream(frames: AsyncIterator[str]) -> StreamingResponse:
    """Streams the frames, with keepalive comments between them."""
    return StreamingResponse(_kept_alive(frames), media_type="text/event-stream")


async def _kept_alive(frames: AsyncIterator[str]) -> AsyncIterator[str]:
    yield ": gswarm\n\n"
    following = asyncio.ensure_future(anext(frames, None))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=KEEPALIVE_S)
            if not done:
                yield ": still here\n\n"
                continue
            try:
                text = following.result()
            except GswarmError as error:
                # The answer has begun, its status can no longer say it; a reader that comes again gets the error itself.
                _log.warning("an event stream ends: %s", error)
                return
            if text is None:
                return
            yield text
            following = asyncio.ensure_future(anext(frames, None))
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await following
