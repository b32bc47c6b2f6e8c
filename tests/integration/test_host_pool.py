"""The machines' HTTPS port: who may join, who may fetch, who is told to wait."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gswarm.datapool.disk import DiskStore
from gswarm.domain.errors import ConflictError
from gswarm.domain.ids import Digest
from gswarm.host.auth import TokenStore
from gswarm.host.pool import FAILURE_WINDOW_S, FAILURES_MAX, FailureLimit, PoolServer
from gswarm.wire.tls import CertificateAuthority, ClientTls, client_ssl_context, make_key_and_csr, server_name
from gswarm.wire.token import JoinToken


@dataclass
class Door:
    server: PoolServer
    tokens: TokenStore
    authority: CertificateAuthority
    store: DiskStore
    alive: set[str]
    time_s: float = 1_000.0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}"

    def anyone(self) -> ssl.SSLContext:
        """Trusts the cluster, shows no certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.authority.ca_pem.decode())
        return context

    async def join(self, body: Any) -> tuple[int, dict[str, Any]]:
        async with aiohttp.ClientSession() as http, http.post(f"{self.url}/v1/join", json=body, ssl=self.anyone()) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    authority = CertificateAuthority.create("cluster-1")
    store = DiskStore(tmp_path / "pool")
    tokens = TokenStore(tmp_path / "auth.db", authority, lambda: 8092, lambda: made.time_s)
    alive: set[str] = set()
    server = PoolServer(store, authority, tokens, authority.issue_host(), alive.__contains__, lambda: made.time_s)
    made = Door(server, tokens, authority, store, alive)
    await server.start("127.0.0.1", 0)
    yield made
    await server.stop()
    tokens.close()
    store.close()


def request(token: str, name: str = "node-1") -> tuple[dict[str, str], bytes]:
    key, csr = make_key_and_csr(name)
    return {"token": token, "name": name, "csr": csr.decode()}, key


async def test_joining_gives_a_certificate_that_opens_the_pool(door: Door) -> None:
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


async def test_a_certificate_of_another_cluster_or_of_a_host_opens_nothing(door: Door) -> None:
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


async def test_a_used_token_and_nonsense_are_refused_and_too_many_tries_wait(door: Door) -> None:
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
    fresh, _key = request(door.tokens.create("client").text)
    status, answer = await door.join(fresh)
    assert (status, answer["code"]) == (429, "limit")
    door.time_s += FAILURE_WINDOW_S + 1
    assert (await door.join(fresh))[0] == 200


@pytest.mark.parametrize("body", [None, [], {}, {"token": 1, "name": "a", "csr": "x"}, {"token": "x" * 70_000, "name": "a", "csr": "x"}])
async def test_malformed_requests_get_400(door: Door, body: Any) -> None:
    assert (await door.join(body))[0] == 400


async def test_the_name_of_a_living_client_is_not_given_away_and_the_token_stays(door: Door) -> None:
    body, _key = request(door.tokens.create("client").text)
    door.alive.add("node-1")
    assert (await door.join(body))[0] == 409
    door.alive.clear()
    assert (await door.join(body))[0] == 200


async def test_two_tries_at_once_with_one_token_let_one_in(door: Door) -> None:
    token = door.tokens.create("client").text
    answers = await asyncio.gather(*(door.join(request(token, f"node-{number}")[0]) for number in range(5)))
    assert sorted(status for status, _answer in answers) == [200, 401, 401, 401, 401]


async def test_the_ca_is_open_to_anyone(door: Door) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{door.url}/v1/ca", ssl=door.anyone()) as answer:
        assert await answer.read() == door.authority.ca_pem


async def test_a_port_in_use_is_said(door: Door) -> None:
    second = PoolServer(door.store, door.authority, door.tokens, None, lambda name: False, lambda: 0.0)
    with pytest.raises(ConflictError, match=f"port {door.server.port}"):
        await second.start("127.0.0.1", door.server.port)


def test_failures_are_counted_by_address_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.host.pool.ADDRESSES_MAX", 3)
    time_s = [0.0]
    limit = FailureLimit(lambda: time_s[0])
    for _ in range(FAILURES_MAX):
        limit.failed("1.1.1.1")
    assert limit.retry_after_s("1.1.1.1") == FAILURE_WINDOW_S
    assert limit.retry_after_s("2.2.2.2") == 0
    for number in range(5):
        limit.failed(f"3.3.3.{number}")
    assert len(limit._failures_s) == 3
    time_s[0] = FAILURE_WINDOW_S + 1
    assert limit.retry_after_s("3.3.3.4") == 0
