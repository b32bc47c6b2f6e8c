"""HTTP connections with limits: how many, how slow, and an answer in our own words to what is no HTTP at all."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gswarm.host.api.problem import MEDIA_TYPE, SECURITY_HEADERS, problem_document
from gswarm.host.api.shield import ON_ADMITTED

CONNECTIONS_MAX = 2000
REQUEST_TIMEOUT_S = 30.0
"""From a connection's begin, or a request's first byte, to the request's last one: a caller that drips bytes holds no place (slowloris)."""
STALL_TIMEOUT_S = 60.0
"""An answer that nobody reads for that long ends its connection."""
HEAD_BYTES_MAX = 16 * 1024
"""Of a request line with its headers."""


class BoundedProtocol(H11Protocol):  # type: ignore[misc]  # uvicorn's types are not followed
    """uvicorn's, with a deadline for each request and for a reader that stands still."""

    app_state: dict[str, Any]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self.known = asyncio.Event()
        """Somebody's request was let in on this connection, or it is over; until then its other end is a stranger."""
        self.app_state = {**self.app_state, ON_ADMITTED: self.known.set}

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._answer_and_close(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", f"{CONNECTIONS_MAX} connections are open already")
            return
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self._on_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        self._end_stall()
        self.known.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_request()

    def _watch_request(self) -> None:
        """The deadline runs while a request has begun and not ended."""
        state = self.conn.their_state
        has_begun = state is h11.SEND_BODY or (state is h11.IDLE and bool(self.conn.trailing_data[0]))
        if not has_begun or self.transport.is_closing():
            self._end_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self._on_slow)

    def _on_slow(self) -> None:
        self._deadline = None
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
            return
        self._answer_and_close(HTTPStatus.REQUEST_TIMEOUT, "too_slow", f"the request did not arrive within {REQUEST_TIMEOUT_S:.0f} s")

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALL_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_stall()

    def send_400_response(self, msg: str) -> None:
        self._answer_and_close(HTTPStatus.BAD_REQUEST, "invalid_input", msg)

    def _answer_and_close(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Past the application, which does not know of this request, or waits for the rest of it."""
        if self.transport.is_closing():
            return
        body = json.dumps(problem_document(status, code, detail)).encode()
        headers = SECURITY_HEADERS | {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self.transport.write("\r\n".join(lines).encode() + body)
        self.transport.close()

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
