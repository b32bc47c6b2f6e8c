"""The TLS contexts under a real HTTPS server: the join port with an optional certificate, and blobs between clients."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from wire_support import client_tls

from gswarm.wire.tls import (
    CertificateAuthority,
    Credentials,
    ServerTls,
    client_ssl_context,
    credentials_fault,
    fingerprint,
    make_key_and_csr,
    peer_name_from_ssl,
    server_name,
    server_ssl_context,
)
from gswarm.wire.token import JoinToken

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return CertificateAuthority.create("c1")


async def who(request: web.Request) -> web.Response:
    assert request.transport is not None
    certificate = request.transport.get_extra_info("peercert")
    return web.Response(text=str(peer_name_from_ssl(certificate).name) if certificate else "nobody")


@asynccontextmanager
async def serving(context: ssl.SSLContext, *routes: web.RouteDef) -> AsyncIterator[int]:
    app = web.Application()
    app.add_routes([web.get("/who", who), *routes])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def ask(port: int, context: ssl.SSLContext, holder: str) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://127.0.0.1:{port}/who", ssl=context, server_hostname=server_name(holder)) as answer,
    ):
        return await answer.text()


def anonymous(ca_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca_pem.decode())
    return context


async def test_an_optional_certificate_names_its_owner(ca: CertificateAuthority) -> None:
    async with serving(server_ssl_context(ca.issue_host(), "optional")) as port:
        assert await ask(port, client_ssl_context(client_tls(ca, "a")), "host") == "a"
        assert await ask(port, anonymous(ca.ca_pem), "host") == "nobody"
        stranger = client_tls(CertificateAuthority.create("c2"), "a")
        with pytest.raises(aiohttp.ClientError):
            await ask(port, client_ssl_context(Credentials(stranger.cert_pem, stranger.key_pem, ca.ca_pem)), "host")
        old = client_tls(ca, "a", now=datetime.now(UTC) - timedelta(days=3))
        with pytest.raises(aiohttp.ClientError):
            await ask(port, client_ssl_context(old), "host")


async def test_a_required_certificate_is_required(ca: CertificateAuthority) -> None:
    async with serving(server_ssl_context(ca.issue_host(), require_client_cert=True)) as port:
        assert await ask(port, client_ssl_context(client_tls(ca, "a")), "host") == "a"
        with pytest.raises(aiohttp.ClientError):
            await ask(port, anonymous(ca.ca_pem), "host")


async def test_a_browser_is_not_asked(ca: CertificateAuthority) -> None:
    async with serving(server_ssl_context(ca.issue_host(), require_client_cert=False)) as port:
        assert await ask(port, client_ssl_context(client_tls(ca, "a")), "host") == "nobody"


@pytest.mark.parametrize("name", ["node-1", "gpu_7.rack-2", "a" * 63])
async def test_clients_serve_each_other_and_know_whom_they_ask(ca: CertificateAuthority, name: str) -> None:
    tls = client_tls(ca, name)
    async with serving(server_ssl_context(tls, require_client_cert=True)) as port:
        assert await ask(port, client_ssl_context(client_tls(ca, "b")), name) == "b"
        for other in ("host", "c"):
            with pytest.raises(aiohttp.ClientError):
                await ask(port, client_ssl_context(client_tls(ca, "b")), other)


async def test_joining_from_the_token_alone(ca: CertificateAuthority) -> None:
    """The whole way of ADR 6: nothing is trusted that the token does not vouch for."""

    async def authority(request: web.Request) -> web.Response:
        return web.Response(body=ca.ca_pem)

    async def join(request: web.Request) -> web.Response:
        body = await request.json()
        assert JoinToken.parse(body["token"]) == token
        return web.json_response({"certificate_pem": ca.issue_client(body["csr_pem"].encode(), body["name"]).decode()})

    token = JoinToken.new(ca.fingerprint, 8092)
    host = ca.issue_host()
    routes = (web.get("/v1/ca", authority), web.post("/v1/join", join))
    async with (
        serving(server_ssl_context(host, "optional"), *routes) as port,
        aiohttp.ClientSession(f"https://127.0.0.1:{port}") as session,
    ):
        async with session.get("/v1/ca", ssl=False) as answer:
            ca_pem = await answer.read()
        assert fingerprint(ca_pem) == token.ca_fingerprint
        key_pem, csr_pem = make_key_and_csr("node-1")
        body = {"token": token.format(), "name": "node-1", "csr_pem": csr_pem.decode()}
        async with session.post("/v1/join", json=body, ssl=anonymous(ca_pem), server_hostname=server_name("host")) as answer:
            joined = Credentials((await answer.json())["certificate_pem"].encode(), key_pem, ca_pem)
        assert credentials_fault(joined, datetime.now(UTC)) is None
        assert await ask(port, client_ssl_context(joined), "host") == "node-1"


async def test_old_tls_is_refused(ca: CertificateAuthority) -> None:
    async with serving(server_ssl_context(ca.issue_host(), require_client_cert=False)) as port:
        context = anonymous(ca.ca_pem)
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = context.minimum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(aiohttp.ClientError):
            await ask(port, context, "host")


def test_credentials_of_either_end_make_contexts_for_both(ca: CertificateAuthority) -> None:
    host: ServerTls = ca.issue_host()
    assert client_ssl_context(host).check_hostname
    assert server_ssl_context(host, "optional").verify_mode is ssl.CERT_OPTIONAL
    assert client_ssl_context(host).minimum_version is ssl.TLSVersion.TLSv1_2
