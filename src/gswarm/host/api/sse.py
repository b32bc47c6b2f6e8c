"""Server-sent events (WHATWG HTML, 9.2): framing, keepalive, end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from gswarm.domain.errors import GswarmError, UnavailableError
from gswarm.host.api.gate import Caller

_log = logging.getLogger("gswarm.host.api")

KEEPALIVE_S = 15.0
"""A comment is sent after that long without an event, so that proxies keep the connection and a dead reader is noticed.
As often it is looked whether the reader may still read."""
STREAMS_MAX = 500
"""Open at a time; each holds a connection and its place in the events for as long as its reader likes."""
STREAMS_PER_TOKEN_MAX = 100
"""So that nobody takes every place."""


def frame(event_id: int, kind: str, data: dict[str, Any]) -> str:
    return f"id: {event_id}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


class EventStreams:
    """The open streams of one app. A server that stops ends them first, else it would wait for readers that never leave.

    Args:
        still_stands: whether a reader who was let in may still read.
    """

    def __init__(self, still_stands: Callable[[Caller], Awaitable[bool]]) -> None:
        self._still_stands = still_stands
        self._closing = asyncio.Event()
        self._revoked: dict[asyncio.Event, Caller] = {}
        """One entry an open stream."""

    def close(self) -> None:
        """Ends every stream; their readers come again when the host is back."""
        self._closing.set()
        for cut in self._revoked:
            cut.set()

    def look_again(self, token_id: str) -> None:
        """A token or a login has ended: the token's streams look at once whether they may go on."""
        for cut, caller in self._revoked.items():
            if caller.token_id == token_id:
                cut.set()

    def response(self, frames: AsyncIterator[str], caller: Caller) -> StreamingResponse:
        """Streams the frames, with keepalive comments between them.

        Raises:
            UnavailableError: too many streams are open.
        """
        if len(self._revoked) >= STREAMS_MAX:
            raise UnavailableError(f"{STREAMS_MAX} event streams are open already", "close some, or try again later")
        if Counter(other.token_id for other in self._revoked.values())[caller.token_id] >= STREAMS_PER_TOKEN_MAX:
            raise UnavailableError(f"{STREAMS_PER_TOKEN_MAX} event streams of this token are open already", "close some")
        cut = asyncio.Event()
        self._revoked[cut] = caller
        return _Stream(self._kept_alive(frames, caller, cut), lambda: self._revoked.pop(cut, None))

    async def _kept_alive(self, frames: AsyncIterator[str], caller: Caller, cut: asyncio.Event) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        following = asyncio.ensure_future(anext(frames, None))
        looking = asyncio.ensure_future(cut.wait())
        look_at_s = loop.time() + KEEPALIVE_S
        try:
            yield ": gswarm\n\n"
            while True:
                await asyncio.wait({following, looking}, timeout=max(0.0, look_at_s - loop.time()), return_when=asyncio.FIRST_COMPLETED)
                if looking.done() or loop.time() >= look_at_s:
                    if self._closing.is_set() or not await self._still_stands(caller):
                        return
                    look_at_s = loop.time() + KEEPALIVE_S
                    if looking.done():
                        cut.clear()
                        looking = asyncio.ensure_future(cut.wait())
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
            for task in (following, looking):
                task.cancel()
            await asyncio.gather(following, looking, return_exceptions=True)


class _Stream(StreamingResponse):
    """Tells when it is over, however it ends."""

    def __init__(self, frames: AsyncIterator[str], on_end: Callable[[], object]) -> None:
        super().__init__(frames, media_type="text/event-stream")
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()
