"""Every RPC and every route of every port, found in the code and not in a list, called by those who must not get in."""

from __future__ import annotations

import asyncio
import re
import runpy
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from api_host import ApiHost, api_host
from pool_door import PoolDoor, pool_door
from security_support import HANDSHAKE, HANDSHAKE_REFUSES, call_http, call_rpc, described_rpcs, intruders, joined
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import compile_path
from wire_support import EchoHost

from gswarm.client import data_server
from gswarm.client.data_server import DataServer
from gswarm.client.peer_rights import PeerRights
from gswarm.domain.config import HostConfig
from gswarm.domain.ids import ClientName, Digest
from gswarm.host import pool
from gswarm.host.api.app import PREFIX, RULES
from gswarm.host.api.gate import Role
from gswarm.host.api.web import ASSETS, PAGES
from gswarm.wire.client import HostConnection
from gswarm.wire.methods import METHODS
from gswarm.wire.server import start_server
from gswarm.wire.tls import ClientTls, Peer, peer_of

ROOT = Path(__file__).parents[2]
OPEN = {
    ("GET", "/api/v1/health"): "whether the process answers, for load balancers and supervisors; says the version and nothing else",
    ("POST", "/api/v1/auth/login"): "takes the token in its body, so there is none before it",
    **{
        ("GET", path): "a file of the dashboard, the same for every cluster of this version; the page in it asks for a login"
        for path in (*PAGES, ASSETS)
    },
    ("GET", "/v1/ca"): "a machine that joins compares the certificate with the fingerprint in its token; it is no secret",
    ("POST", "/v1/join"): "takes the join token in its body; a machine has no certificate before it",
}
"""What answers callers without credentials, and why. Whoever makes another such route has to argue here."""


EMPTY = Digest("0" * 64)


@dataclass
class GenerousHost(EchoHost):
    """Lets every client's name fetch one blob; whose certificate counts is for the door to say."""

    digest: Digest = EMPTY

    async def reach(self, peer: Peer, client: ClientName) -> tuple[Digest, ...]:
        return (self.digest,)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[PoolDoor]:
    async with pool_door(tmp_path) as made:
        yield made


# ---- gRPC ---------------------------------------------------------------------------------------------------------------


def test_every_rpc_of_the_protocol_is_in_the_table() -> None:
    assert set(METHODS) == set(described_rpcs())


async def test_every_rpc_refuses_whoever_has_no_certificate_that_counts(door: PoolDoor) -> None:
    refused = {"of the host": "PERMISSION_DENIED"}
    server = await start_server(EchoHost(), "127.0.0.1", 0, door.authority.issue_host(), door=door.door)
    address, ca_pem = f"127.0.0.1:{server.port}", door.authority.ca_pem
    member, strangers = joined(door.tokens, "a"), intruders(door.tokens)
    try:
        for path in described_rpcs():
            assert await call_rpc(address, path, None, ca_pem) == HANDSHAKE, path
            for what, tls in strangers.items():
                wanted = HANDSHAKE if what in HANDSHAKE_REFUSES else refused.get(what, "UNAUTHENTICATED")
                assert await call_rpc(address, path, tls, ca_pem) == wanted, (path, what)
            assert await call_rpc(address, path, member, ca_pem, named="b") == "PERMISSION_DENIED", path
            assert await call_rpc(address, path, member, ca_pem, named="a") in ("OK", "INVALID_ARGUMENT"), path
    finally:
        await server.stop()


# ---- the ports of the pools ---------------------------------------------------------------------------------------------


def routes_of(server: Any) -> set[tuple[str, str]]:
    """What an aiohttp server answers."""
    app: web.Application = server._runner.app
    return {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}


def concrete(path: str) -> str:
    return re.sub(r"{[^}]*}", "0" * 64, path)


async def test_every_route_of_the_hosts_pool_port_is_in_the_table_and_closed(door: PoolDoor) -> None:
    assert routes_of(door.server) == set(pool.ROUTES)
    assert set(pool.OPEN) <= set(OPEN)
    strangers: dict[str, ClientTls | None] = {"nobody": None, **intruders(door.tokens)}
    nowhere = [("GET", "/"), ("GET", "/v1/nothing"), ("PUT", "/v1/ca"), ("DELETE", "/v1/blobs/x"), ("HEAD", "/v1/ca")]
    for method, path in [*pool.ROUTES, *nowhere]:
        for what, tls in strangers.items():
            status = await call_http(door.url, method, concrete(path), tls, door.authority.ca_pem, "gswarm-host")
            if what in HANDSHAKE_REFUSES:
                assert status == HANDSHAKE, (method, path, what)
            elif (method, path) in pool.OPEN:
                assert status in (200, 400), (method, path, what)
            else:
                assert status == (403 if what == "of the host" else 401), (method, path, what)
    member = joined(door.tokens, "a")
    for method, path in pool.ROUTES:
        assert await call_http(door.url, method, concrete(path), member, door.authority.ca_pem, "gswarm-host") not in (401, 403)
    assert await call_http(door.url, "GET", "/v1/nothing", member, door.authority.ca_pem, "gswarm-host") == 404


async def test_every_route_of_a_clients_port_is_in_the_table_and_closed(door: PoolDoor) -> None:
    serving, digest = joined(door.tokens, "b"), door.put(b"a checkpoint")
    grpc = await start_server(GenerousHost(digest=digest), "127.0.0.1", 0, door.authority.issue_host(), door=door.door)
    link = HostConnection(f"127.0.0.1:{grpc.port}", serving, "b")
    server = DataServer(door.store, serving, PeerRights(link.reach, door.store))
    url = await server.start("127.0.0.1", 0)

    async def call(method: str, path: str, tls: ClientTls | None) -> int | str:
        return await call_http(url, method, path, tls, door.authority.ca_pem, "b.client.gswarm.internal")

    try:
        assert routes_of(server) == set(data_server.ROUTES)
        strangers: dict[str, ClientTls | None] = {"nobody": None, **intruders(door.tokens)}
        member = joined(door.tokens, "a")
        for method, path in data_server.ROUTES:
            there = path.replace("{digest}", digest)
            for what, tls in strangers.items():
                status = await call(method, there, tls)
                if what == "nobody" or what in HANDSHAKE_REFUSES:
                    assert status == HANDSHAKE, (method, path, what)
                else:
                    assert status == (200 if what == "of the host" else 403), (method, path, what)
            assert await call(method, there, member) == 200
            assert await call(method, concrete(path), member) == 403
            for before in (strangers["of a machine that gave up its name"], strangers["revoked"]):
                name = peer_of(before.cert_pem).name if before is not None else ""
                assert await call(method, there, joined(door.tokens, name)) == 200
                assert await call(method, there, before) == 403, "what the name may fetch now is nothing to who had it before"
        for method, path in (("PUT", f"/v1/blobs/{'0' * 64}"), ("POST", "/v1/blobs/missing"), ("GET", "/v1/ca")):
            assert await call(method, path, serving) in (403, 404, 405)
    finally:
        await server.stop()
        await link.close()
        await grpc.stop()


# ---- the API ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHost]:
    with api_host(tmp_path_factory.mktemp("doors"), HostConfig(http_port=0)) as running:
        yield running


def app_routes(api: ApiHost) -> dict[tuple[str, str], Role]:
    """What the app answers, and the role that its rule asks for; each has one."""
    app = api._server._server.config.app
    found = {(method, route.path) for route in app.routes for method in (route.methods or ()) if method != "HEAD"}
    return {(method, path): role_for(method, path) for method, path in sorted(found)}


def role_for(method: str, path: str) -> Role:
    roles = [rule.role for rule in RULES if rule.method == method and rule.pattern == compile_path(path)[0]]
    assert len(roles) == 1, f"{method} {path} has {len(roles)} rules: give it a role in api/app.py"
    return roles[0]


def test_every_route_of_the_api_refuses_what_does_not_count(api: ApiHost) -> None:
    # Failures from one address are slowed down (tests of its own); here each has to be looked at.
    api._server._server.config.app.state.gate.throttle._failures_max = 1_000_000
    ended = {}
    for what in ("revoked", "expired"):
        made = api.tokens.create("admin", ttl_s=3600)
        ended[what] = made.text
        assert api.tokens.authenticate(made.text).role == "admin"
        api.tokens.revoke(made.id) if what == "revoked" else expire(api, made.id)
    bearers = {**ended, "of a client": api.tokens.create("client").text, "garbled": "gswt-" + "a" * 48, "none": None}
    with httpx.Client(base_url=api.url, timeout=10) as http:
        for (method, path), role in app_routes(api).items():
            url = re.sub(r"{[^}]*}", "zz", path)
            if (method, path) in OPEN:
                assert role is Role.ANYONE, path
                continue
            assert role > Role.ANYONE, f"{method} {path} is open: list it in OPEN and say why, or give it a role"
            for what, bearer in bearers.items():
                answer = http.request(method, url, headers={"Authorization": f"Bearer {bearer}"} if bearer else {})
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (method, path, what)
            for lesser in [one for one in ("viewer", "operator") if Role[one.upper()] < role]:
                answer = http.request(method, url, headers={"Authorization": f"Bearer {api.bearer[lesser]}"})
                assert answer.status_code == 403, (method, path, lesser)
        for method, path in (
            ("GET", "/nothing"),
            ("POST", "/"),
            ("GET", "/assets"),
            ("GET", "/api/v1/nothing"),
            ("PATCH", "/api/v1/runs"),
            ("GET", "/api/v1/../v1/runs"),
        ):
            assert http.request(method, path).status_code == 401, path
        page = {"Accept": "text/html,*/*"}
        assert http.get("/nothing", headers=page).status_code == 404, "the one answer of its own that the documented table names"
        for method, path in (("POST", "/nothing"), ("GET", "/api/v1/nothing"), ("GET", "/metrics"), ("GET", "/docs")):
            assert http.request(method, path, headers=page).status_code == 401, path


def test_a_route_without_a_rule_is_closed_and_noticed(api: ApiHost) -> None:
    calls = []

    async def forgotten(request: Request) -> PlainTextResponse:
        calls.append(request.method)
        return PlainTextResponse("done")

    router = api._server._server.config.app.router
    before = list(router.routes)
    router.add_route(f"{PREFIX}/forgotten", forgotten, methods=["GET", "POST"])
    router.add_route(f"{PREFIX}/health", forgotten, methods=["DELETE"])
    try:
        with httpx.Client(base_url=api.url + PREFIX, timeout=10) as http:
            for method, path, status in (("GET", "/forgotten", 404), ("POST", "/forgotten", 404), ("DELETE", "/health", 405)):
                assert http.request(method, path).status_code == 401
                for bearer in api.bearer.values():
                    assert http.request(method, path, headers={"Authorization": f"Bearer {bearer}"}).status_code == status
        with pytest.raises(AssertionError, match="has 0 rules"):
            app_routes(api)
    finally:
        router.routes[:] = before
    assert calls == []


def expire(api: ApiHost, token_id: str) -> None:
    """As if its hour were over: also for what is remembered of it."""
    with api.tokens._db.transaction() as db:
        db.execute("UPDATE tokens SET expires_at_s = 1 WHERE id = ?", (token_id,))
    api.tokens._proven.clear()


def test_what_is_open_is_there(api: ApiHost) -> None:
    known = {*app_routes(api), *pool.ROUTES}
    assert set(OPEN) <= known


def test_the_documented_table_is_fresh_and_whole(api: ApiHost) -> None:
    wanted = runpy.run_path(str(ROOT / "scripts" / "security_routes.py"))["render"]()
    assert (ROOT / "docs" / "security-routes.md").read_text(encoding="utf-8") == wanted, "run make docs"
    for method, path in [*app_routes(api), *pool.ROUTES, *data_server.ROUTES]:
        assert f"| {method} | `{path}` |" in wanted
    assert all(f"| `{path}` |" in wanted for path in described_rpcs())


async def test_two_doors_do_not_share_their_guests(tmp_path: Path) -> None:
    async with pool_door(tmp_path / "one") as one, pool_door(tmp_path / "two") as two:
        guest = joined(one.tokens, "a")
        statuses = await asyncio.gather(
            *(call_http(door.url, "POST", "/v1/blobs/missing", guest, one.authority.ca_pem, "gswarm-host") for door in (one, two))
        )
    assert statuses == [200, HANDSHAKE]
