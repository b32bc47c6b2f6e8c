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

from gswarm import __version__
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

    async def join(self, body: Any, tls: ClientTls | None = None) -> tuple[int, dict[str, Any]]:
        """``tls``: a certificate to show."""
        context = client_ssl_context(tls) if tls is not None else self.anyone()
        options: Any = {"ssl": context, "server_hostname": server_name("host")}
        async with aiohttp.ClientSession() as http, http.post(f"{self.url}/v1/join", json=body, **options) as answer:
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
    fresh, _key = request(door.tokens.create("client").text, "node-2")
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


async def test_an_offline_clients_name_goes_to_nobody_but_itself(door: Door) -> None:
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


async def test_who_has_no_token_learns_nothing_about_names(door: Door) -> None:
    door.alive.add("node-1")
    unknown = JoinToken.new(door.authority.fingerprint, 1).format()
    assert (await door.join(request(unknown)[0]))[0] == 401


async def test_a_request_without_a_length_is_read_no_further_than_the_limit(door: Door) -> None:
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


async def test_a_client_of_another_version_is_told_so_and_keeps_its_token(door: Door) -> None:
    body, _key = request(door.tokens.create("client").text)
    status, answer = await door.join({**body, "version": "99.1.0"})
    assert (status, answer["code"]) == (426, "incompatible_version")
    assert "99.1.0" in answer["detail"]
    assert (await door.join({**body, "version": __version__}))[0] == 200


async def test_two_tries_at_once_with_one_token_let_one_in(door: Door) -> None:
    token = door.tokens.create("client").text
    answers = await asyncio.gather(*(door.join(request(token, f"node-{number}")[0]) for number in range(5)))
    assert sorted(status for status, _answer in answers) == [200, 401, 401, 401, 401]


async def test_the_ca_is_open_to_anyone(door: Door) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{door.url}/v1/ca", ssl=door.anyone()) as answer:
        assert await answer.read() == door.authority.ca_pem


async def test_a_port_in_use_is_said(door: Door) -> None:
    second = PoolServer(door.store, door.authority, door.tokens, None, lambda name: False, lambda: 0.0)
    with pytest.raises(ConflictError, match=f"port {door.server.port}.*choose another with --pool-port"):
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
