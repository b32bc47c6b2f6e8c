"""A request's body: read in full before anybody acts on it, and no more than the host takes."""

from __future__ import annotations

from starlette.types import Message, Receive

from gswarm.domain.errors import GswarmError


class TooLargeError(GswarmError):
    """The body is larger than the host takes."""

    code = "too_large"
    http_status = 413


class Disconnected(Exception):
    """The caller went away before its request was complete."""


async def read_body(receive: Receive, bytes_max: int) -> bytes:
    """The whole body. How long a caller may take is the connection's business (``gswarm.host.http_protocol``).

    Raises:
        TooLargeError: there is more than ``bytes_max``; the rest is not read.
        Disconnected: the caller went away.
    """
    pieces, size_bytes = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        piece: bytes = message.get("body", b"")
        size_bytes += len(piece)
        if size_bytes > bytes_max:
            raise too_large(bytes_max)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def too_large(bytes_max: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than {bytes_max:,} bytes", "send a smaller file")


def replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once more, and then whatever comes behind it."""
    waiting = [body]

    async def receive_again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_again
