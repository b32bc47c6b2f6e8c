"""The gRPC port and messages that are larger than they look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from wire_support import EchoHost, register, running

from gswarm.domain.messages import Goodbye
from gswarm.wire import convert
from gswarm.wire.methods import CLIENT_NAME_KEY, SESSION_METHOD


async def talk(port: int, second: bytes, compression: grpc.Compression | None) -> grpc.aio.AioRpcError | None:
    """Opens a session and sends ``second`` behind the registration; how the call ended."""

    async def requests() -> AsyncIterator[bytes]:
        yield convert.encode(register("a"))
        yield second

    options: list[tuple[str, Any]] = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.stream_stream(SESSION_METHOD)(requests(), metadata=((CLIENT_NAME_KEY, "a"),), compression=compression)
        try:
            async for _ in call:
                pass
        except grpc.aio.AioRpcError as error:
            return error
    return None


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages_may_not_be_larger_than_others(compression: grpc.Compression) -> None:
    host = EchoHost()
    async with running(host, None) as server:
        error = await talk(server.port, bytes(10 * convert.MESSAGE_BYTES_MAX), compression)
        assert error is not None
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, "gRPC stops at the limit while it unpacks"
        assert await talk(server.port, convert.encode(Goodbye("done")), None) is None, "others go on"


async def test_messages_beyond_the_limit_end_their_call_only() -> None:
    host = EchoHost()
    async with running(host, None) as server:
        error = await talk(server.port, bytes(convert.MESSAGE_BYTES_MAX + 1), None)
        assert error is not None
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await talk(server.port, convert.encode(Goodbye("done")), None) is None
