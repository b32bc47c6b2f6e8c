"""Messages and bodies that are larger than they look: the gRPC port, and the ports of the pools."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from pool_door import pool_door
from security_support import call_http, joined
from wire_support import EchoHost, register, running

from gswarm.client.data_server import DataServer
from gswarm.client.peer_rights import PeerRights
from gswarm.domain.messages import Goodbye
from gswarm.wire import convert
from gswarm.wire.methods import CLIENT_NAME_KEY, SESSION_METHOD


async def talk(port: int, second: bytes, compression: grpc.Compression | None) -> grpc.aio.AioRpcError | None:
    """Opens a session, registers, and then sends ``second``; how the call ended."""
    registered = asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        yield convert.encode(register("a"))
        await registered.wait()
        yield second

    options: list[tuple[str, Any]] = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.stream_stream(SESSION_METHOD)(requests(), metadata=((CLIENT_NAME_KEY, "a"),), compression=compression)
        try:
            async for _ in call:
                registered.set()
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


def bomb(unpacked_mib: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(unpacked_mib)) + packer.flush()


async def test_no_pool_unpacks_what_it_is_sent(tmp_path: Path) -> None:
    async def nothing(_client: str, _enrolment: str) -> tuple[()]:
        return ()

    packed, blob = bomb(64), f"/v1/blobs/{'0' * 64}"
    async with pool_door(tmp_path) as door:
        member = joined(door.tokens, "a")
        for method, path, tls in (("PUT", blob, member), ("POST", "/v1/blobs/missing", member), ("POST", "/v1/join", None)):
            for coding in ("gzip", "deflate", "identity, gzip"):
                status, answer = await door.ask(method, path, tls, data=packed, headers={"Content-Encoding": coding})
                assert (status, answer["code"]) == (415, "invalid_input"), (method, path, coding)
        assert (await door.ask("POST", "/v1/blobs/missing", member, data=b"[]", headers={"Content-Encoding": "identity"}))[0] == 200
        server = DataServer(door.store, joined(door.tokens, "b"), PeerRights(nothing, door.store))
        url = await server.start("127.0.0.1", 0)
        try:
            headers = {"Content-Encoding": "gzip"}
            assert await call_http(url, "GET", blob, member, member.ca_pem, "b.client.gswarm.internal", data=packed, headers=headers) == 415
        finally:
            await server.stop()
