"""What the two ends of a transfer agree on."""

from __future__ import annotations

import asyncio
from typing import Final

from gswarm.datapool.store import Ingest
from gswarm.domain.errors import GswarmError, UnavailableError, error_from_code

MISSING_DIGESTS_MAX: Final = 10_000
"""How many digests one question for missing blobs may name."""
BLOB_BYTES_MAX: Final = 1 << 40
UPLOAD_OFFSET: Final = "Upload-Offset"
UPLOAD_COMPLETE: Final = "Upload-Complete"
SPOOL_BYTES: Final = 1024 * 1024
"""How many bytes are collected from the network before a thread writes them."""


class Spool:
    """Carries bytes from the event loop into an ingest: the next piece is received while a thread hashes and writes the last one.

    Exactly one coroutine may use it. What was fed is in the ingest after ``flush``.
    """

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._buffer = bytearray()
        self._writing: asyncio.Task[None] | None = None

    async def feed(self, data: bytes) -> None:
        """Raises StorageError."""
        self._buffer += data
        if len(self._buffer) >= SPOOL_BYTES:
            await self._write()

    async def flush(self) -> None:
        """Waits until everything is in the ingest. Raises StorageError."""
        if self._buffer:
            await self._write()
        await self._written()

    async def _write(self) -> None:
        await self._written()
        data, self._buffer = self._buffer, bytearray()
        self._writing = asyncio.create_task(asyncio.to_thread(self._ingest.write, memoryview(data)))

    async def _written(self) -> None:
        if self._writing is not None:
            # A thread cannot be cancelled: it must not go on unseen.
            await asyncio.shield(self._writing)
            self._writing = None


def problem_document(error: GswarmError) -> dict[str, object]:
    """The body of a refusal, in the form of RFC 9457."""
    return {
        "type": f"urn:gswarm:problem:{error.code}",
        "title": error.code.replace("_", " "),
        "status": error.http_status,
        "detail": error.message,
        "code": error.code,
        "hint": error.hint,
    }


def problem_error(status: int, document: object) -> GswarmError:
    """The error that a refusal stands for; anything that is no problem document of gswarm becomes ``UnavailableError``."""
    match document:
        case {"code": str(code), "detail": str(detail), **rest}:
            hint = rest.get("hint")
            return error_from_code(code[:64], detail[:2000], hint[:2000] if isinstance(hint, str) else "")
        case _:
            return UnavailableError(f"the data pool answered with HTTP status {status}", "is this the address of a gswarm pool?")
