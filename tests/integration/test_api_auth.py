"""Who may call what: every route, without a token, with a lesser role, with the right one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_host import ApiHost, api_host
from fastapi.routing import APIRoute

from gswarm.domain.config import HostConfig, HostLimits
from gswarm.host.api.app import PREFIX, ROUTES, RULES, create_app
from gswarm.host.api.shield import Role, rule
from gswarm.host.api.web import ASSETS, PAGES


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHost]:
    limits = HostLimits(max_request_bytes=2000)
    with api_host(tmp_path_factory.mktemp("auth"), HostConfig(http_port=0, limits=limits)) as running:
        yield running


HTTP = httpx.Client()


def call(api: ApiHost, method: str, path: str, role: str | None = None, **options: object) -> httpx.Response:
    headers = dict(options.pop("headers", {}))  # type: ignore[call-overload]
    if role is not None:
        headers["Authorization"] = f"Bearer {api.bearer[role]}"
    return HTTP.request(method, api.url + path, headers=headers, timeout=10, **options)  # type: ignore[arg-type]


def concrete(path: str) -> str:
    return re.sub(r"{[^}]*}", "zz", path)


def test_every_route_of_the_app_is_in_the_table(api: ApiHost) -> None:
    server_app = api._server._server.config.app
    registered = {(method, route.path) for route in server_app.routes for method in (route.methods or ()) if method != "HEAD"}
    table = {(route.method, PREFIX + route.path) for route in ROUTES} | {("GET", path) for path in (*PAGES, ASSETS)}
    assert registered == table | {("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/docs.css"), ("GET", "/metrics")}
    assert all(isinstance(route, APIRoute) for route in server_app.routes if route.path.startswith(PREFIX))
    assert len(RULES) == len(registered)
    assert create_app.__doc__


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_refuses_callers_without_the_role(api: ApiHost, route: object) -> None:
    path = PREFIX + concrete(route.path)  # type: ignore[attr-defined]
    method, role = route.method, route.role  # type: ignore[attr-defined]
    if role is Role.ANYONE:
        assert call(api, method, path).status_code in (200, 422)
        return
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}):
        answer = call(api, method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
    for lesser in [name for name in ("viewer", "operator", "admin") if Role[name.upper()] < role]:
        answer = call(api, method, path, lesser)
        assert answer.status_code == 403
        assert answer.json()["code"] == "forbidden"


def test_the_lowest_allowed_role_gets_through(api: ApiHost) -> None:
    for route in ROUTES:
        if route.method == "GET" and route.path not in ("/events",):
            answer = call(api, "GET", PREFIX + concrete(route.path), max(route.role, Role.VIEWER).name.lower())
            assert answer.status_code in (200, 400, 404), route.path


def test_a_join_token_logs_nobody_in(api: ApiHost) -> None:
    join = api.tokens.create("client").text
    assert call(api, "GET", f"{PREFIX}/runs", headers={"Authorization": f"Bearer {join}"}).status_code == 401


def test_a_revoked_token_is_refused_at_once(api: ApiHost) -> None:
    with api.host() as host:
        made = host.create_token("viewer")
        headers = {"Authorization": f"Bearer {made['token']}"}
        assert call(api, "GET", f"{PREFIX}/auth/whoami", headers=headers).json() == {"token_id": made["id"], "role": "viewer"}
        host.revoke_token(made["id"])
        assert host.revoke_token(made["id"])["revoked_at"] is not None
    assert call(api, "GET", f"{PREFIX}/auth/whoami", headers=headers).status_code == 401


def test_tokens_are_listed_without_their_secrets(api: ApiHost) -> None:
    with api.host() as host:
        made = host.create_token("client", ttl_s=60, uses=2)
        listed = next(token for token in host.tokens() if token["id"] == made["id"])
    assert made["token"].startswith("gsw1-")
    assert listed == {key: value for key, value in made.items() if key != "token"}
    assert listed["uses_left"] == 2


def test_documentation_needs_a_login_and_lists_the_routes(api: ApiHost) -> None:
    assert call(api, "GET", "/docs").status_code == 401
    page = call(api, "GET", "/docs", "viewer")
    assert "/api/v1/runs/{run}/clone" in page.text
    assert "<script" not in page.text
    assert "style=" not in page.text
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in page.headers["content-security-policy"]
    assert call(api, "GET", "/docs.css", "viewer").headers["content-type"].startswith("text/css")
    document = call(api, "GET", "/openapi.json", "viewer").json()
    assert {(method.upper(), path) for path, item in document["paths"].items() for method in item} == {
        (route.method, PREFIX + route.path.replace(":path", "")) for route in ROUTES
    }


def test_unknown_paths_answer_a_problem_to_those_who_logged_in_only(api: ApiHost) -> None:
    assert call(api, "GET", "/api/v1/nothing").status_code == 401
    answer = call(api, "GET", "/api/v1/nothing", "viewer")
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (404, "not_found", 404)
    answer = call(api, "PUT", "/api/v1/runs", "viewer")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


def test_foreign_host_headers_are_refused_on_loopback(api: ApiHost) -> None:
    for name in ("evil.example", "evil.example:8091", "127.0.0.1.evil.example", ""):
        assert call(api, "GET", f"{PREFIX}/health", headers={"Host": name}).status_code in (400, 403), name
    for name in ("localhost:1", "127.0.0.1", "[::1]:8091", "LOCALHOST"):
        assert call(api, "GET", f"{PREFIX}/health", headers={"Host": name}).status_code == 200, name


def test_large_bodies_are_refused_declared_or_not(api: ApiHost) -> None:
    path = f"{PREFIX}/experiments/validate"
    assert call(api, "POST", path, "viewer", content=b"x" * 2001).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x: 1\n" * 20

    answer = call(api, "POST", path, "viewer", content=pieces())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_every_answer_has_security_headers_and_no_cors(api: ApiHost) -> None:
    for path, role in ((f"{PREFIX}/health", None), (f"{PREFIX}/runs", None), (f"{PREFIX}/runs", "viewer"), ("/nothing", "viewer")):
        headers = call(api, "GET", path, role, headers={"Origin": "https://evil.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert not any(name.startswith("access-control") for name in headers)


def test_a_rule_matches_its_path_only() -> None:
    found = rule("GET", "/api/v1/runs/{run}", Role.VIEWER)
    assert found.pattern.match("/api/v1/runs/r1")
    assert not found.pattern.match("/api/v1/runs/r1/logs")


def test_roles_are_ordered() -> None:
    assert Role.ANYONE < Role.VIEWER < Role.OPERATOR < Role.ADMIN


def test_problem_for_an_unexpected_error(api: ApiHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object) -> list[str]:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(api.tokens), "list", broken)
    answer = call(api, "GET", f"{PREFIX}/tokens", "admin")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert answer.headers["content-type"] == "application/problem+json"
