"""The machines' HTTPS port: who may join, who may fetch, who is told to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from pool_door import PoolDoor, pool_door

from gswarm import __version__
from gswarm.domain.errors import ConflictError
from gswarm.domain.ids import ClientName, Digest
from gswarm.host.access.audit import AuditKind
from gswarm.host.access.rights import PoolRights
from gswarm.host.api.throttle import FAILURES_MAX, WINDOW_S
from gswarm.host.clock import SystemClock
from gswarm.host.pool import PoolServer
from gswarm.wire.tls import CertificateAuthority, ClientTls, client_ssl_context, make_key_and_csr, server_name
from gswarm.wire.token import JoinToken


class Time:
    """The real time and what the test adds: certificates are checked against the machine's clock."""

    added_s = 0.0

    def __call__(self) -> float:
        return SystemClock().now_s() + self.added_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def door(tmp_path: Path, time: Time) -> AsyncIterator[PoolDoor]:
    async with pool_door(tmp_path, time) as made:
        yield made


def request(token: str, name: str = "node-1") -> tuple[dict[str, str], bytes]:
    key, csr = make_key_and_csr(name)
    return {"token": token, "name": name, "csr": csr.decode()}, key


async def test_joining_gives_a_certificate_that_opens_the_pool(door: PoolDoor) -> None:
    with door.store.ingest() as ingest:
        ingest.write(b"bytes")
        digest = ingest.commit()
    body, key = request(door.tokens.create("client").text)
    status, answer = await door.join(body)
    assert (status, answer["cluster_id"]) == (200, "cluster-1")
    tls = ClientTls(answer["certificate"].encode(), key, answer["ca"].encode())
    url = f"{door.url}/v1/blobs/{digest}"
    async with aiohttp.ClientSession() as http:
        async with http.get(url, ssl=client_ssl_context(tls), server_hostname=server_name("host")) as got:
            assert (got.status, await got.read()) == (200, b"bytes")
        async with http.get(url, ssl=door.anyone()) as refused:
            assert (refused.status, (await refused.json())["code"]) == (401, "unauthenticated")
        async with http.post(f"{door.url}/v1/blobs/missing", json=[digest], ssl=door.anyone()) as refused:
            assert refused.status == 401
        async with http.put(url, data=b"x", ssl=door.anyone()) as refused:
            assert refused.status == 401


async def test_a_certificate_of_another_cluster_or_of_a_host_opens_nothing(door: PoolDoor) -> None:
    other = CertificateAuthority.create("cluster-2")
    key, csr = make_key_and_csr("node-1")
    stranger = ClientTls(other.issue_client(csr, "node-1"), key, door.authority.ca_pem)
    own = door.authority.issue_host()
    url = f"{door.url}/v1/blobs/{Digest('0' * 64)}"
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.get(url, ssl=client_ssl_context(stranger), server_hostname=server_name("host"))
        async with http.get(url, ssl=client_ssl_context(own), server_hostname=server_name("host")) as refused:
            assert refused.status == 403


async def test_a_used_token_and_nonsense_are_refused_and_too_many_tries_wait(door: PoolDoor, time: Time) -> None:
    good = door.tokens.create("client")
    body, _key = request(good.text)
    assert (await door.join(body))[0] == 200
    status, answer = await door.join(body)
    assert (status, answer["code"]) == (401, "unauthenticated")
    assert "used already" in answer["detail"]
    assert answer["hint"]
    for _ in range(FAILURES_MAX - 1):
        unknown = JoinToken.new(door.authority.fingerprint, 1).format()
        assert (await door.join({**body, "token": unknown}))[0] == 401
    fresh, _key = request(door.tokens.create("client").text, "node-2")
    status, answer = await door.join(fresh)
    assert (status, answer["code"]) == (429, "too_many_attempts")
    time.added_s += WINDOW_S + 1
    assert (await door.join(fresh))[0] == 200


@pytest.mark.parametrize("body", [None, [], {}, {"token": 1, "name": "a", "csr": "x"}, {"token": "x" * 70_000, "name": "a", "csr": "x"}])
async def test_malformed_requests_get_400(door: PoolDoor, body: Any) -> None:
    assert (await door.join(body))[0] == 400


async def test_a_text_that_is_no_unicode_gets_400_and_the_audit_log_has_it(door: PoolDoor) -> None:
    asked = {"token": "x", "name": "a", "csr": "\ud800"}
    assert (await door.join(asked))[0] == 400
    assert (await door.ask("POST", "/v1/renew", door.member("a"), json=asked))[0] == 400
    audited = await door.audit.read(AuditKind.REFUSALS, 10)
    assert [(record.path, record.status) for _cursor, record in audited] == [("/v1/renew", 400), ("/v1/join", 400)]


async def test_the_name_of_a_living_client_is_not_given_away_and_the_token_stays(door: PoolDoor) -> None:
    body, _key = request(door.tokens.create("client").text)
    door.alive.add("node-1")
    assert (await door.join(body))[0] == 409
    door.alive.clear()
    assert (await door.join(body))[0] == 200


async def test_an_offline_clients_name_goes_to_nobody_but_itself(door: PoolDoor) -> None:
    body, key = request(door.tokens.create("client").text)
    _, answer = await door.join(body)
    tls = ClientTls(answer["certificate"].encode(), key, answer["ca"].encode())
    token = door.tokens.create("client").text
    status, answer = await door.join(request(token)[0])
    assert (status, answer["code"]) == (409, "conflict")
    other_body, other_key = request(token, "node-2")
    _, answer = await door.join(other_body)
    other = ClientTls(answer["certificate"].encode(), other_key, answer["ca"].encode())
    assert (await door.join(request(door.tokens.create("client").text)[0], other))[0] == 409, "another client's certificate proves nothing"
    door.alive.add("node-1")
    assert (await door.join(request(door.tokens.create("client").text)[0], tls))[0] == 200, "renewal, also just after a restart"


async def test_who_has_no_token_learns_nothing_about_names(door: PoolDoor) -> None:
    door.alive.add("node-1")
    unknown = JoinToken.new(door.authority.fingerprint, 1).format()
    assert (await door.join(request(unknown)[0]))[0] == 401


async def test_a_request_without_a_length_is_read_no_further_than_the_limit(door: PoolDoor) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 64 * 1024
            yield b"x" * 64 * 1024

    async with aiohttp.ClientSession() as http:
        try:
            async with http.post(f"{door.url}/v1/join", data=endless(), ssl=door.anyone()) as answer:
                assert answer.status == 400
        except aiohttp.ClientError:
            pass  # the door was shut while we were talking
    assert sent < 8 * 1024 * 1024


async def test_a_client_of_another_version_is_told_so_and_keeps_its_token(door: PoolDoor) -> None:
    body, _key = request(door.tokens.create("client").text)
    status, answer = await door.join({**body, "version": "99.1.0"})
    assert (status, answer["code"]) == (426, "incompatible_version")
    assert "99.1.0" in answer["detail"]
    assert (await door.join({**body, "version": __version__}))[0] == 200


async def test_two_tries_at_once_with_one_token_let_one_in(door: PoolDoor) -> None:
    token = door.tokens.create("client").text
    answers = await asyncio.gather(*(door.join(request(token, f"node-{number}")[0]) for number in range(5)))
    assert sorted(status for status, _answer in answers) == [200, 401, 401, 401, 401]


async def test_the_ca_is_open_to_anyone(door: PoolDoor) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{door.url}/v1/ca", ssl=door.anyone()) as answer:
        assert await answer.read() == door.authority.ca_pem


async def test_a_port_in_use_is_said(door: PoolDoor) -> None:
    second = PoolServer(
        door.store, door.tokens, None, door.door, cast(PoolRights, door.rights), lambda name: False, door.audit, lambda: 0.0
    )
    with pytest.raises(ConflictError, match=f"port {door.server.port}.*choose another with --pool-port"):
        await second.start("127.0.0.1", door.server.port)


async def test_who_has_no_right_to_a_blob_that_is_here_must_bring_it_in_full(door: PoolDoor) -> None:
    here, guest = door.put(b"bytes of somebody else"), await asyncio.to_thread(door.member, "a")
    door.rights.forbidden.add((ClientName("a"), here))
    path = f"/v1/blobs/{here}"
    assert await door.ask("POST", "/v1/blobs/missing", guest, json=[here]) == (200, [here])
    for method, query in (("GET", ""), ("GET", "?upload=1"), ("GET", "?offset=0&upload"), ("HEAD", ""), ("HEAD", "?verify=1")):
        assert (await door.ask(method, path + query, guest))[0] == 403, (method, query)
    assert (await door.ask("PUT", path, guest, data=b"something else"))[0] == 422, "the bytes are looked at"
    assert (await door.ask("PUT", path, guest, data=b"bytes of somebody else"))[0] == 201
    assert door.rights.brought == [("a", here)]
    door.rights.forbidden.clear()
    assert await door.ask("POST", "/v1/blobs/missing", guest, json=[here]) == (200, [])


async def test_a_revoked_certificate_proves_no_name(door: PoolDoor) -> None:
    guest = await asyncio.to_thread(door.member, "a")
    door.tokens.revoke_client("a")
    assert (await door.join(request(door.token(), "a")[0], guest))[0] == 409
