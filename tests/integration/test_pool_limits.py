"""The machines' port against strangers: how many, how long, how many tries; and what the audit log has of who came."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from argon2 import PasswordHasher
from pool_door import PoolDoor, pool_door

from gswarm.domain.errors import StorageError
from gswarm.host import pool
from gswarm.host.access import auth
from gswarm.host.access.audit import AuditKind
from gswarm.host.access.rights import PoolRights
from gswarm.host.api.throttle import FAILURES_MAX
from gswarm.host.pool import PoolServer
from gswarm.wire import listener
from gswarm.wire.tls import ClientTls, client_ssl_context, make_key_and_csr
from gswarm.wire.token import JoinToken

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HALF_A_BODY = b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
HALF_A_HEAD = b"GET /v1/ca HTTP/1.1\r\nX: "
QUESTION = b"GET /v1/ca HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[PoolDoor]:
    async with pool_door(tmp_path) as made, asyncio.timeout(30):
        yield made


async def connect(door: PoolDoor, tls: ClientTls | None = None, source: str = "127.0.0.1", *, raw: bool = False) -> Connection:
    context = None if raw else client_ssl_context(tls) if tls is not None else door.anyone()
    name = None if raw else "gswarm-host"
    return await asyncio.open_connection("127.0.0.1", door.server.port, ssl=context, server_hostname=name, local_addr=(source, 0))


def strangers(door: PoolDoor) -> Counter[str]:
    """How many there are, by address."""
    assert door.server._listener is not None
    return door.server._listener._by_network


async def ended(connection: Connection) -> bytes:
    """What came until the connection ended."""
    try:
        return await connection[0].read()
    except ConnectionError:
        return b""


@asynccontextmanager
async def held(*opened: Connection) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def refused(attempt: Callable[[], Any]) -> bool:
    try:
        connection = await attempt()
    except OSError:
        return True
    async with held(connection):
        return await ended(connection) == b""


# ---- how long ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD, HALF_A_BODY, QUESTION * 20])
async def test_a_strangers_connection_ends_whatever_it_does(door: PoolDoor, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "STRANGER_TIMEOUT_S", 0.2)
    with suppress(OSError):  # on a slow machine already the handshake takes longer
        connection = await connect(door)
        async with held(connection):
            connection[1].write(sent)
            await ended(connection)
    assert not strangers(door)


async def test_a_body_that_does_not_arrive_is_said_so(door: PoolDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "BODY_TIMEOUT_S", 0.1)
    connection = await connect(door)
    async with held(connection):
        connection[1].write(HALF_A_BODY)
        answer = await connection[0].readuntil(b"}")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"did not arrive" in answer


async def test_a_handshake_that_does_not_end_is_broken_off(door: PoolDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HANDSHAKE_TIMEOUT_S", 0.1)
    connection = await connect(door, raw=True)
    async with held(connection):
        connection[1].write(b"\x16\x03\x01")
        assert await ended(connection) == b""
    assert (await door.ask("GET", "/v1/ca"))[0] == 200


async def test_who_shows_a_certificate_that_counts_is_no_stranger(door: PoolDoor) -> None:
    member, revoked = await asyncio.gather(*(asyncio.to_thread(door.member, name) for name in ("a", "b")))
    door.tokens.revoke_client("b")
    opened = [await connect(door, tls) for tls in (member, revoked, None)]
    async with held(*opened):
        for reader, writer in opened:
            writer.write(QUESTION)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert strangers(door) == {"127.0.0.1": 2}


# ---- how many ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True])
async def test_so_many_strangers_from_an_address_and_no_more(door: PoolDoor, raw: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "STRANGERS_PER_ADDRESS_MAX", 3)
    opened = [await connect(door, raw=raw) for _ in range(3)]
    async with held(*opened):
        while strangers(door)["127.0.0.1"] < 3:
            await asyncio.sleep(0.01)
        assert await refused(lambda: connect(door))
        neighbour = await connect(door, source="127.0.0.2")
        async with held(neighbour):
            neighbour[1].write(QUESTION)
            assert (await neighbour[0].readline()).startswith(b"HTTP/1.1 200 ")
    while strangers(door):
        await asyncio.sleep(0.01)
    assert (await door.ask("GET", "/v1/ca"))[0] == 200, "their places are free again"


async def test_so_many_strangers_in_all_and_members_take_no_place(door: PoolDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    member = await asyncio.to_thread(door.member, "a")
    monkeypatch.setattr(listener, "STRANGERS_MAX", 3)
    members = [await connect(door, member) for _ in range(5)]
    others = [await connect(door, source=f"127.0.0.{number}") for number in (1, 2, 3)]
    async with held(*members, *others):
        assert await refused(lambda: connect(door, source="127.0.0.4"))
        for reader, writer in members:
            writer.write(QUESTION)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


# ---- how odd -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [b"/v1/ca", b"/v1/nothing", b"/v1/renew"])
async def test_an_expectation_that_nobody_can_meet_is_refused(door: PoolDoor, path: bytes) -> None:
    connection = await connect(door)
    async with held(connection):
        connection[1].write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nExpect: \xa0x\r\n\r\n")
        assert (await ended(connection)).startswith(b"HTTP/1.1 417 ")


# ---- how many tries ----------------------------------------------------------------------------------------------------------


async def test_tries_at_the_same_time_have_the_limit_of_those_one_after_another(door: PoolDoor) -> None:
    key_and_csr = make_key_and_csr("node-1")
    wrong = [JoinToken.new(door.authority.fingerprint, 1).format() for _ in range(30)]
    body = {"name": "node-1", "csr": key_and_csr[1].decode()}
    answers = await asyncio.gather(*(door.join({**body, "token": token}) for token in wrong))
    assert Counter(status for status, _ in answers) == {401: FAILURES_MAX, 429: 30 - FAILURES_MAX}


async def test_machines_that_join_at_the_same_time_are_all_let_in(door: PoolDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "HASHER", PasswordHasher(1, 8, 1))
    token, csr = door.tokens.create("client", uses=FAILURES_MAX + 2).text, make_key_and_csr("n")[1].decode()
    bodies = [{"token": token, "name": f"n{number}", "csr": csr} for number in range(FAILURES_MAX + 2)]
    assert {status for status, _ in await asyncio.gather(*map(door.join, bodies))} == {200}


# ---- what is recorded --------------------------------------------------------------------------------------------------------


async def records(door: PoolDoor, kind: AuditKind) -> list[tuple[str, str, str, str, int]]:
    found = [record for _, record in reversed(await door.audit.read(kind, 100))]
    assert {record.address for record in found} <= {"127.0.0.1"}
    return [(record.who, record.via, record.path, record.detail, record.status) for record in found]


async def test_joins_and_renewals_are_recorded(door: PoolDoor) -> None:
    made = door.tokens.create("client")
    key, csr = make_key_and_csr("node-1")
    _, answer = await door.join({"token": made.text, "name": "node-1", "csr": csr.decode()})
    tls = ClientTls(answer["certificate"].encode(), key, answer["ca"].encode())
    assert (await door.ask("POST", "/v1/renew", tls, json={"csr": csr.decode()}))[0] == 200
    assert await records(door, AuditKind.WRITES) == [
        (f"client:{made.id}", "token", "/v1/join", "node-1 joined", 200),
        ("client:node-1", "certificate", "/v1/renew", "renewed its certificate", 200),
    ]
    assert await records(door, AuditKind.REFUSALS) == []


async def test_who_is_not_let_in_is_recorded(door: PoolDoor) -> None:
    member = await asyncio.to_thread(door.member, "a")
    door.tokens.revoke_client("a")
    text = door.token()
    _, csr = make_key_and_csr("node-1")
    await door.join({"token": text[:-1] + ("a" if text[-1] != "a" else "b"), "name": "node-1", "csr": csr.decode()})
    await door.join({"token": text})
    await door.ask("POST", "/v1/renew", member, json={"csr": csr.decode()})
    await door.ask("GET", f"/v1/blobs/{'0' * 64}")
    refusals = await records(door, AuditKind.REFUSALS)
    assert [(who, path, status) for who, _, path, _, status in refusals] == [
        ("-", "/v1/join", 401),
        ("-", "/v1/join", 400),
        ("client:a", "/v1/renew", 401),
        ("-", f"/v1/blobs/{'0' * 64}", 401),
    ]
    assert "revoked" in refusals[2][3]
    assert not any(text in detail for *_, detail, _ in refusals)
    assert await records(door, AuditKind.WRITES) == []


async def test_while_nothing_can_be_recorded_nobody_joins(door: PoolDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_lines: object) -> None:
        raise StorageError("the disk is full")

    _, csr = make_key_and_csr("node-1")
    monkeypatch.setattr(door.audit._files, "append", full)
    first, second = [{"token": door.token(), "name": name, "csr": csr.decode()} for name in ("node-1", "node-2")]
    assert (await door.join(first))[0] == 200, "what was done already is told as it is"
    assert (await door.join(second))[0] == 507
    monkeypatch.undo()
    assert (await door.join(second))[0] == 200


# ---- plaintext ---------------------------------------------------------------------------------------------------------------


async def test_in_plaintext_a_web_page_is_no_caller(door: PoolDoor) -> None:
    plain = PoolServer(door.store, door.tokens, None, door.door, cast(PoolRights, door.rights), lambda name: False, door.audit, door.now_s)
    await plain.start("127.0.0.1", 0)
    url = f"http://127.0.0.1:{plain.port}/v1/blobs/missing"
    try:
        async with aiohttp.ClientSession() as http:
            for headers, status in (
                ({}, 200),
                ({"Host": f"localhost:{plain.port}"}, 200),
                ({"Host": f"evil.example:{plain.port}"}, 403),
                ({"Origin": "https://evil.example"}, 403),
            ):
                async with http.post(url, json=[], headers=headers) as answer:
                    assert answer.status == status, headers
    finally:
        await plain.stop()
