"""Who may have how many of the places for uploads."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from gswarm.datapool.memory import MemoryStore
from gswarm.datapool.transfer.uploads import Uploads
from gswarm.domain.errors import UnavailableError
from gswarm.domain.ids import Digest


def digest(number: int) -> Digest:
    return Digest(f"{number:064x}")


async def leave_unfinished(uploads: Uploads, caller: str, number: int) -> None:
    async with uploads.claim(caller, digest(number), 0) as upload:
        upload.ingest.write(b"x")
        upload.received_bytes = 1


async def test_one_caller_keeps_nobody_else_out() -> None:
    uploads = Uploads(MemoryStore(), 8)
    async with AsyncExitStack() as running:
        for number in range(2):
            await running.enter_async_context(uploads.claim("mallory", digest(number), 0))
        with pytest.raises(UnavailableError, match="2 uploads of mallory are running"):
            await running.enter_async_context(uploads.claim("mallory", digest(2), 0))
        await running.enter_async_context(uploads.claim("alice", digest(0), 0))


async def test_what_a_caller_left_unfinished_makes_room_for_its_own() -> None:
    uploads = Uploads(MemoryStore(), 8)
    await leave_unfinished(uploads, "alice", 0)
    for number in range(8):
        await leave_unfinished(uploads, "mallory", number)
    assert [uploads.offset("mallory", digest(number)) for number in range(8)] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert uploads.offset("alice", digest(0)) == 1
