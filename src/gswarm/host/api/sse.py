"""Server-sent events (WHATWG HTML, 9.2): framing, keepalive, end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from gswarm.domain.errors import GswarmError, UnavailableError

_log = logging.getLogger("gswarm.host.api")

KEEPALIVE_S = 15.0
"""A comment is sent after that long without an event, so that proxies keep the connection and a dead reader is noticed."""


STREAMS_MAX = 500
"""Open at a time; each holds a connection and its place in the events for as long as its reader likes."""


def frame(event_id: int, kind: str, data: dict[str, Any]) -> str:
    return f"id: {event_id}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


class EventStreams:
    """The open streams of one app. A server that stops ends them first, else it would wait for readers that never leave."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()
        self._open = 0

    def close(self) -> None:
        """Ends every stream; their readers come again when the host is back."""
        self._closing.set()

    def response(self, frames: AsyncIterator[str]) -> StreamingResponse:
        """Streams the frames, with keepalive comments between them.

        Raises:
            UnavailableError: too many streams are open.
        """
        if self._open >= STREAMS_MAX:
            raise UnavailableError(f"{STREAMS_MAX} event streams are open already", "close some, or try again later")
        return StreamingResponse(self._kept_alive(frames), media_type="text/event-stream")

    async def _kept_alive(self, frames: AsyncIterator[str]) -> AsyncIterator[str]:
        self._open += 1
        closing = asyncio.ensure_future(self._closing.wait())
        following = asyncio.ensure_future(anext(frames, None))
        try:
            yield ": gswarm\n\n"
            while True:
                await asyncio.wait({following, closing}, timeout=KEEPALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                if closing.done():
                    return
                if not following.done():
                    yield ": still here\n\n"
                    continue
                text = following.result()
                if text is None:
                    return
                yield text
                following = asyncio.ensure_future(anext(frames, None))
        except GswarmError as error:
            # The answer has begun, its status can no longer say it; a reader that comes again gets the error itself.
            _log.warning("an event stream ends: %s", error)
        finally:
            self._open -= 1
            for task in (following, closing):
                task.cancel()
            await asyncio.gather(following, closing, return_exceptions=True)
