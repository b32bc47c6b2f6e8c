"""The door of the HTTP port: logins with a cookie, pages of others, wrong tokens, slow and oversized callers, the audit log."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_host import EXPERIMENT, ApiHost, api_host, with_runs
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from gswarm.datapool.manifest import ingest_folder
from gswarm.domain.config import HostConfig
from gswarm.domain.errors import GswarmError, StorageError, TooManyAttemptsError
from gswarm.host import http_protocol
from gswarm.host.access import logins
from gswarm.host.access.audit import AuditKind
from gswarm.host.api import shield, sse
from gswarm.host.api.app import PREFIX
from gswarm.scheduler import core
from gswarm.sdk import Host
from gswarm.wire import listener
from gswarm.wire.tls import CertificateAuthority

COOKIE = "gswarm_login"
TLS = ssl.create_default_context()
"""Made once: loading the system's CAs takes longer than a test. Clients are not shared, they keep cookies."""
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE
get, post, options, request, stream, Client = (
    partial(call, verify=TLS) for call in (httpx.get, httpx.post, httpx.options, httpx.request, httpx.stream, httpx.Client)
)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHost]:
    """For tests that leave nothing behind."""
    with api_host(tmp_path_factory.mktemp("shared")) as running:
        with_runs(running)
        yield running


def own_page(api: ApiHost) -> dict[str, str]:
    """What a browser and this host's own page send with a change."""
    return {"Origin": api.url, "X-Gswarm-Csrf": "1", "Sec-Fetch-Site": "same-origin"}


@contextlib.contextmanager
def browser(api: ApiHost, role: str = "operator") -> Iterator[httpx.Client]:
    """Logged in with a cookie."""
    with Client(base_url=api.url + PREFIX, timeout=10) as client:
        answer = client.post("/auth/login", json={"token": api.bearer[role]}, headers=own_page(api))
        assert answer.status_code == 200, answer.text
        yield client


def audit(api: ApiHost, kind: str = "writes") -> list[dict[str, Any]]:
    """Oldest first."""
    headers = {"Authorization": f"Bearer {api.bearer['admin']}"}
    items: list[dict[str, Any]] = get(f"{api.url}{PREFIX}/audit?kind={kind}&limit=500", headers=headers).json()["items"]
    return items[::-1]


def bearer(api: ApiHost, role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api.bearer[role]}"}


# ---- logins ------------------------------------------------------------------------------------------------------------------


def test_a_browser_logs_in_works_and_logs_out(api: ApiHost) -> None:
    run = with_runs(api)[0]
    with browser(api) as client:
        assert client.get("/auth/whoami").json()["role"] == "operator"
        assert client.get(f"/runs/{run}").status_code == 200
        assert client.post(f"/runs/{run}/stop", headers=own_page(api)).json()["state"] == "stopping"
        assert client.get("/tokens").status_code == 403
        cookie = client.cookies[COOKIE]
        assert client.post("/auth/logout", headers=own_page(api)).status_code == 200
        assert COOKIE not in client.cookies
        assert client.get("/auth/whoami").status_code == 401
        assert client.get("/auth/whoami", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code == 401, "it is over here, too"
    assert api.bearer["operator"] not in cookie


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(shared: ApiHost) -> None:
    answer = post(f"{shared.url}{PREFIX}/auth/login", json={"token": shared.bearer["viewer"]})
    parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert not any(part.startswith("domain") for part in parts)
    assert "token_id" in answer.json()
    assert shared.bearer["viewer"] not in answer.text


def test_over_https_the_cookie_is_bound_to_it(tmp_path: Path) -> None:
    CertificateAuthority.create("c" * 32).issue_host(()).save(tmp_path)
    with api_host(tmp_path, HostConfig(http_port=0, bind="0.0.0.0")) as api:
        url = api.url.replace("http://", "https://")
        with Client(base_url=url + PREFIX) as client:
            answer = client.post("/auth/login", json={"token": api.bearer["viewer"]}, headers={"Origin": url})
            name, *parts = [part.strip().lower() for part in answer.headers["set-cookie"].split(";")]
            assert name.startswith("__host-gswarm_login=")
            assert {"secure", "httponly", "samesite=strict", "path=/"} <= set(parts)
            assert client.get("/auth/whoami").status_code == 200
            assert client.get("/health", headers={"Host": "evil.example"}).status_code == 403
            assert client.get("/health", headers={"Origin": url.replace("https", "http")}).status_code == 403


@pytest.mark.parametrize(
    "without",
    [
        {"Origin": None},
        {"X-Gswarm-Csrf": None},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_a_change_with_a_cookie_must_come_from_the_hosts_own_page(shared: ApiHost, without: dict[str, str | None]) -> None:
    headers = {name: value for name, value in (own_page(shared) | without).items() if value is not None}
    with browser(shared) as client:
        assert client.post("/runs/r1/stop", headers=headers).status_code == 403
        assert client.get("/runs/r1").json()["state"] == "running"
    refused = audit(shared, "refusals")[-1]
    assert (refused["path"], refused["status"]) == (f"{PREFIX}/runs/r1/stop", 403)


def test_no_page_of_another_origin_is_served_or_may_ask(shared: ApiHost) -> None:
    evil = {"Origin": "https://evil.example"}
    for method, headers in (("GET", bearer(shared, "admin")), ("GET", {}), ("POST", bearer(shared, "admin"))):
        answer = request(method, f"{shared.url}{PREFIX}/runs", headers=headers | evil)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    preflight = evil | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-gswarm-csrf"}
    answer = options(f"{shared.url}{PREFIX}/runs/r1/stop", headers=preflight)
    assert answer.status_code == 403
    assert not any(name.startswith("access-control") for name in answer.headers)
    login = post(f"{shared.url}{PREFIX}/auth/login", json={"token": shared.bearer["admin"]}, headers=evil)
    assert login.status_code == 403
    assert "set-cookie" not in login.headers


def test_a_login_and_its_streams_end_with_the_token(api: ApiHost) -> None:
    with api.host() as host:
        made = host.create_token("viewer")
        api.bearer["short"] = made["token"]
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(browser(api, "short"))
            streams = [
                stack.enter_context(client.stream("GET", "/events")),
                stack.enter_context(stream("GET", f"{api.url}{PREFIX}/events", headers=bearer(api, "short"), timeout=10)),
            ]
            lines = [one.iter_lines() for one in streams]
            assert [next(one) for one in lines] == [": gswarm"] * 2
            host.revoke_token(made["id"])
            assert [list(one) for one in lines] == [[""], [""]], "both streams ended"
            assert client.get("/auth/whoami").status_code == 401
            assert len(api.logins) == 0


BIG_BYTES = 64 * 1024 * 1024


@contextlib.contextmanager
def download(api: ApiHost, folder: Path, headers: dict[str, str]) -> Iterator[socket.socket]:
    """A large file on its way, to a reader that has read little of it."""
    folder.mkdir()
    with (folder / "x.bin").open("wb") as file:
        file.truncate(BIG_BYTES)
    manifest, _ = ingest_folder(api.store, "export", folder)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(20)
        reader.connect(("127.0.0.1", int(api.url.rpartition(":")[2])))
        lines = (f"GET {PREFIX}/pool/{manifest}/files/x.bin HTTP/1.1", "Host: localhost", *map(": ".join, headers.items()), "", "")
        reader.sendall("\r\n".join(lines).encode())
        assert reader.recv(4096).startswith(b"HTTP/1.1 200 ")
        yield reader


@pytest.mark.parametrize("with_cookie", [False, True])
def test_a_download_ends_with_its_token(api: ApiHost, tmp_path: Path, with_cookie: bool) -> None:
    with api.host() as host, contextlib.ExitStack() as stack:
        made = host.create_token("operator")
        api.bearer["short"] = made["token"]
        headers = bearer(api, "short")
        if with_cookie:
            headers = {"Cookie": f"{COOKIE}={stack.enter_context(browser(api, 'short')).cookies[COOKIE]}"}
        reader = stack.enter_context(download(api, tmp_path / "export", headers))
        host.revoke_token(made["id"])
        while len(api.gate._visits):
            time.sleep(0.01)
        taken = 0
        while piece := reader.recv(1 << 20):
            taken += len(piece)
        assert taken < BIG_BYTES // 2, "what lay in the system's buffers"


def test_an_answer_in_pieces_ends_with_its_token_and_shows_that_it_is_not_whole(api: ApiHost) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 1024

    async def export(_request: Request) -> StreamingResponse:
        return StreamingResponse(endless())

    with api.host() as host:
        made = host.create_token("viewer")
        api.bearer["short"] = made["token"]
        api._server._server.config.app.router.routes.insert(0, Route(f"{PREFIX}/profiler/latest", export))
        with stream("GET", f"{api.url}{PREFIX}/profiler/latest", headers=bearer(api, "short"), timeout=20) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            host.revoke_token(made["id"])
            with pytest.raises(httpx.RemoteProtocolError):
                for _ in pieces:
                    pass


def test_a_change_that_has_arrived_is_made_and_one_that_has_not_is_not(api: ApiHost) -> None:
    made = api.tokens.create("admin")
    api.bearer["short"] = made.text
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(head(api, "POST", "/tokens", "Content-Length: 100", "Content-Type: application/json", role="short") + b'{"role"')
        while not len(api.gate._visits):
            time.sleep(0.01)
        with Client(base_url=api.url + PREFIX, headers=bearer(api, "short"), timeout=20) as client:
            assert client.delete(f"/tokens/{made.id}").status_code == 200, "it ends itself, and is told so"
            assert client.get("/tokens").status_code == 401
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"was revoked" in answer


def test_a_stream_ends_with_its_login_and_leaves_others_alone(api: ApiHost) -> None:
    api.join()
    with contextlib.ExitStack() as stack:
        client, other = (stack.enter_context(browser(api)) for _ in range(2))
        left = stack.enter_context(client.stream("GET", "/events")).iter_lines()
        stays = stack.enter_context(other.stream("GET", "/events?after=0")).iter_lines()
        assert (next(left), next(stays)) == (": gswarm", ": gswarm")
        client.post("/auth/logout", headers=own_page(api))
        assert list(left) == [""]
        assert "id: 1" in itertools.islice(stays, 2)


def test_a_stream_ends_when_its_token_has_expired(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEPALIVE_S", 0.02)
    with api.host() as host:
        api.bearer["short"] = host.create_token("viewer", ttl_s=3600)["token"]
    with stream("GET", f"{api.url}{PREFIX}/events", headers=bearer(api, "short"), timeout=10) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": gswarm"
        monkeypatch.setattr(api.tokens, "_now", lambda: time.time() + 7200)
        assert set(lines) <= {"", ": still here"}, "it ended"


def test_logins_have_a_limit(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "LOGINS_MAX", 2)
    with browser(api), browser(api):
        answer = post(f"{api.url}{PREFIX}/auth/login", json={"token": api.bearer["viewer"]})
        assert (answer.status_code, answer.json()["code"]) == (422, "limit")


# ---- wrong tokens ------------------------------------------------------------------------------------------------------------


def test_after_some_wrong_tokens_an_address_waits_but_who_was_right_does_not(tmp_path: Path) -> None:
    with api_host(tmp_path, failures_max=4) as api:
        whoami = f"{api.url}{PREFIX}/auth/whoami"
        assert get(whoami, headers=bearer(api, "viewer")).status_code == 200
        for number in range(4):
            if number % 2:
                assert get(whoami, headers={"Authorization": f"Bearer {number}"}).status_code == 401
            else:
                assert post(f"{api.url}{PREFIX}/auth/login", json={"token": str(number)}).status_code == 401
        refused = get(whoami, headers=bearer(api, "operator"))
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_attempts")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert post(f"{api.url}{PREFIX}/auth/login", json={"token": api.bearer["operator"]}).status_code == 429
        assert get(whoami, headers=bearer(api, "viewer")).status_code == 200, "it was right before"
        assert get(f"{api.url}{PREFIX}/health").status_code == 200
        with pytest.raises(TooManyAttemptsError), api.host("operator") as host:
            host.whoami()
        assert [one["status"] for one in api.call(_refusals(api))] == [401] * 4 + [429] * 3


def test_wrong_tokens_at_the_same_time_have_the_same_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with api_host(tmp_path, failures_max=4) as api, ThreadPoolExecutor(16) as threads:
        real, all_here = api.tokens.authenticate, threading.Barrier(16)

        def slow(text: str) -> Any:
            time.sleep(0.02)
            return real(text)

        def attempt(number: int) -> int:
            with Client(timeout=20) as client:
                all_here.wait(20)
                return client.get(f"{api.url}{PREFIX}/runs", headers={"Authorization": f"Bearer {number}"}).status_code

        monkeypatch.setattr(api.tokens, "authenticate", slow)
        assert Counter(threads.map(attempt, range(16))) == {401: 4, 429: 12}


async def _refusals(api: ApiHost) -> list[dict[str, Any]]:
    return [{"status": record.status} for _, record in reversed(await api.audit.read(AuditKind.REFUSALS, 100))]


def test_what_a_proxy_header_claims_is_not_believed(tmp_path: Path) -> None:
    with api_host(tmp_path, failures_max=2) as api:
        for number in range(2):
            claimed = {"X-Forwarded-For": f"10.0.0.{number}", "X-Real-IP": "10.9.9.9", "Forwarded": "for=10.8.8.8"}
            get(f"{api.url}{PREFIX}/runs", headers=claimed | {"Authorization": "Bearer x"})
        assert get(f"{api.url}{PREFIX}/runs", headers={"Authorization": "Bearer x"}).status_code == 429


# ---- limits of a request -----------------------------------------------------------------------------------------------------


def raw(api: ApiHost, *pieces: bytes) -> bytes:
    """What comes back until the host closes the connection."""
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                answer += piece
    return answer


def head(api: ApiHost, method: str, path: str, *lines: str, role: str = "admin") -> bytes:
    all_lines = (f"{method} {PREFIX}{path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {api.bearer[role]}", *lines, "", "")
    return "\r\n".join(all_lines).encode()


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda api: (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200 + b"\r\n\r\n",), 400),
        (lambda api: (b"GET / HTTP/1.1\r\nno header\r\n\r\n",), 400),
        (lambda api: (b"GET /api/v1/health HTTP/1.1\r\n\r\n",), 400),
        (lambda api: (b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000,), 400),
        (lambda api: (head(api, "GET", "/runs", *(f"X-{number}: 1" for number in range(120)), "Connection: close"),), 431),
        (lambda api: (head(api, "GET", "/runs?" + "x" * 9_000, "Connection: close"),), 414),
        (lambda api: (head(api, "POST", "/tokens", "Content-Length: 5", "Content-Encoding: gzip", "Connection: close"), b"abcde"), 415),
        (lambda api: (head(api, "POST", "/tokens", "Transfer-Encoding: gzip, chunked", "Connection: close"),), 400),
        (lambda api: (head(api, "POST", "/tokens", "Content-Length: 2000000", "Connection: close"),), 413),
        (lambda api: (head(api, "POST", "/tokens", "Content-Length: 99999999999999999999999999", "Connection: close"),), 400),
        (lambda api: (head(api, "POST", "/tokens", "Content-Length: 5", "Content-Length: 6", "Connection: close"),), 400),
    ],
)
def test_requests_beyond_the_limits_get_a_problem_with_every_header(
    shared: ApiHost, make: Callable[[ApiHost], tuple[bytes, ...]], status: int
) -> None:
    first, _, body = raw(shared, *make(shared)).partition(b"\r\n\r\n")
    headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in first.decode().split("\r\n")[1:]}
    assert first.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(body)["status"] == status
    assert headers["content-type"] == "application/problem+json"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_compressed_bodies_are_refused_before_they_grow(shared: ApiHost) -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    for coding in ("gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip"):
        headers = bearer(shared, "admin") | {"Content-Encoding": coding, "Content-Type": "application/json"}
        answer = post(f"{shared.url}{PREFIX}/experiments/validate", content=bomb, headers=headers)
        assert answer.status_code == 415, coding


def test_without_a_login_a_body_is_small(shared: ApiHost) -> None:
    padded = json.dumps({"token": "x", "more": "y" * shield.OPEN_BODY_BYTES_MAX})
    answer = post(f"{shared.url}{PREFIX}/auth/login", content=padded, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_a_caller_that_drips_bytes_is_cut_off_in_the_head_and_in_the_body(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "REQUEST_TIMEOUT_S", 0.1)
    for pieces in (
        (),
        (b"GET /api/v1/hea",),
        (head(api, "POST", "/tokens", "Content-Length: 100"), b'{"role"'),
        (head(api, "POST", "/tokens", "Transfer-Encoding: chunked"), b"5\r\nabcde\r\n"),
        (head(api, "GET", "/health"), b"GET /api"),  # the second request of a connection
    ):
        answer = raw(api, *pieces)
        assert b"HTTP/1.1 408 Request Timeout\r\n" in answer
        assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["code"] == "too_slow"


def test_the_deadline_is_the_requests_and_not_the_answers(api: ApiHost) -> None:
    with stream("GET", f"{api.url}{PREFIX}/events", headers=bearer(api, "viewer"), timeout=10) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": gswarm"
        (connection,) = api._server._server.server_state.connections
        assert connection._deadline is None


def test_an_answer_that_nobody_reads_ends(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "STALL_TIMEOUT_S", 0.1)
    lost: list[object] = []
    real = http_protocol.BoundedProtocol.connection_lost

    def connection_lost(protocol: http_protocol.BoundedProtocol, error: Exception | None) -> None:
        lost.append(protocol)
        real(protocol, error)

    monkeypatch.setattr(http_protocol.BoundedProtocol, "connection_lost", connection_lost)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", int(api.url.rpartition(":")[2])))
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while not lost:
                connection.sendall(_many_documents(api))
    assert lost


def _many_documents(api: ApiHost) -> bytes:
    lines = ("GET /openapi.json HTTP/1.1", "Host: localhost", f"Authorization: Bearer {api.bearer['viewer']}", "", "")
    return "\r\n".join(lines).encode() * 100


def test_so_many_connections_and_no_more(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "CONNECTIONS_MAX", 3)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(Client()) for _ in range(3)]
        for client in held:
            assert client.get(f"{api.url}{PREFIX}/health").status_code == 200
        answer = raw(api)
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "unavailable"
        assert held[0].get(f"{api.url}{PREFIX}/health").status_code == 200
    for _ in range(200):
        with contextlib.suppress(httpx.TransportError):
            if get(f"{api.url}{PREFIX}/health").status_code == 200:
                break
    assert get(f"{api.url}{PREFIX}/health").status_code == 200, "their places are free again"


def test_handshakes_that_do_not_end_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CertificateAuthority.create("c" * 32).issue_host(()).save(tmp_path)
    monkeypatch.setattr(listener, "STRANGERS_PER_ADDRESS_MAX", 3)
    with api_host(tmp_path, HostConfig(http_port=0, bind="0.0.0.0")) as api, contextlib.ExitStack() as stack:
        place = ("127.0.0.1", int(api.url.rpartition(":")[2]))
        health = f"https://localhost:{place[1]}{PREFIX}/health"
        known = stack.enter_context(Client(timeout=20))
        assert known.get(f"https://localhost:{place[1]}{PREFIX}/runs", headers=bearer(api, "viewer")).status_code == 200
        monkeypatch.setattr(listener, "HANDSHAKE_TIMEOUT_S", 0.3)
        held = [stack.enter_context(socket.create_connection(place, timeout=20)) for _ in range(4)]
        assert known.get(health).status_code == 200, "who was let in takes no place"
        for connection in reversed(held):
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        monkeypatch.undo()
        assert get(health).status_code == 200


def test_one_stranger_does_not_take_every_connection(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "STRANGERS_PER_ADDRESS_MAX", 4)
    place, runs = ("127.0.0.1", int(api.url.rpartition(":")[2])), f"{api.url}{PREFIX}/runs"
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(Client()) for _ in range(6)]
        for member in members:
            assert member.get(runs, headers=bearer(api, "viewer")).status_code == 200
        silent = [stack.enter_context(socket.create_connection(place, timeout=20)) for _ in range(2)]
        others = [stack.enter_context(Client()) for _ in range(2)]
        assert others[0].get(f"{api.url}{PREFIX}/health").status_code == 200
        assert others[1].get(runs, headers={"Authorization": "Bearer gswt-" + "a" * 48}).status_code == 401
        with socket.create_connection(place, timeout=20) as refused, contextlib.suppress(ConnectionResetError):
            assert refused.recv(1) == b""
        with socket.create_connection(place, timeout=20, source_address=("127.0.0.2", 0)) as neighbour:
            neighbour.sendall(head(api, "GET", "/health", "Connection: close"))
            assert neighbour.recv(100).startswith(b"HTTP/1.1 200 ")
        for member in members:
            assert member.get(runs, headers=bearer(api, "viewer")).status_code == 200
        # A stranger that logs in gives its place to another.
        assert others[1].get(runs, headers=bearer(api, "viewer")).status_code == 200
        with Client() as another:
            assert another.get(f"{api.url}{PREFIX}/health").status_code == 200
        assert len(silent) == 2


def test_nobody_takes_every_stream(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STREAMS_PER_TOKEN_MAX", 2)
    url = f"{api.url}{PREFIX}/events"
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            assert stack.enter_context(stream("GET", url, headers=bearer(api, "viewer"))).status_code == 200
        assert get(url, headers=bearer(api, "viewer")).status_code == 503
        assert stack.enter_context(stream("GET", url, headers=bearer(api, "operator"))).status_code == 200


# ---- the audit log -----------------------------------------------------------------------------------------------------------


def test_every_write_is_recorded_with_who_from_where_and_what_came_of_it(api: ApiHost) -> None:
    run = with_runs(api)[0]
    with api.host("operator") as host:
        host.stop_run(run, request_id="once")
        for _ in range(3):
            host.stop_run(run, request_id="once")
        clone = host.clone_run(run, {"learning_rate": 0.5})["id"]
        for bad in (lambda: host.stop_run("nobody"), lambda: host.create_token("admin"), lambda: host.clone_run(run, {"nonsense": 1})):
            with pytest.raises(GswarmError):
                bad()
        host.validate(EXPERIMENT)
        host.runs()
    with browser(api, "admin") as client:
        made = client.post("/tokens", json={"role": "viewer"}, headers=own_page(api)).json()
        client.delete(f"/tokens/{made['token']}", headers=own_page(api))
    found = audit(api)
    who = {role: f"{role}:{api.gate._tokens.authenticate(api.bearer[role]).token_id}" for role in ("operator", "admin")}
    stop = f"{PREFIX}/runs/{run}/stop"
    assert [(one["who"], one["method"], one["path"], one["outcome"], one["status"], one["detail"]) for one in found] == [
        (who["admin"], "POST", f"{PREFIX}/experiments", "done", 201, "made e1"),
        (who["operator"], "POST", stop, "done", 200, ""),
        (who["operator"], "POST", stop, "repeated", 200, ""),
        (who["operator"], "POST", f"{PREFIX}/runs/{run}/clone", "done", 201, f"made {clone}"),
        (who["admin"], "POST", f"{PREFIX}/auth/login", "done", 200, ""),
        (who["admin"], "POST", f"{PREFIX}/tokens", "done", 201, f"made {made['id']} of role viewer"),
    ]
    refused = audit(api, "refusals")
    assert [(one["who"], one["method"], one["path"], one["outcome"], one["status"]) for one in refused] == [
        (who["operator"], "POST", f"{PREFIX}/runs/nobody/stop", "refused", 404),
        (who["operator"], "POST", f"{PREFIX}/tokens", "refused", 403),
        (who["operator"], "POST", f"{PREFIX}/runs/{run}/clone", "refused", 400),
        (who["admin"], "DELETE", f"{PREFIX}/tokens/(a token)", "refused", 404),
    ]
    assert "nobody" in refused[0]["detail"]
    assert {one["address"] for one in found + refused} == {"127.0.0.1"}
    assert [one["via"] for one in found[-3:] + refused[-1:]] == ["token", "login", "login", "login"]
    secrets = [*api.bearer.values(), made["token"]]
    files = b"".join(path.read_bytes() for path in (api.root / "audit").iterdir())
    assert not any(secret.encode() in files for secret in secrets)


def test_a_key_that_is_used_again_once_the_plan_has_forgotten_it_is_recorded(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "REQUESTS_MAX", 4)
    run, other = with_runs(api)[:2]
    with api.host("operator") as host:
        for _ in range(2):
            host.stop_run(run, request_id="again")
        for _ in range(6):
            host.clone_run(other)
        host.delete_run(other, request_id="again")
    found = [(one["method"], one["path"].rpartition("/")[2], one["outcome"]) for one in audit(api)]
    assert found[1:3] == [("POST", "stop", "done"), ("POST", "stop", "repeated")]
    assert found[-1] == ("DELETE", other, "done")


def test_refused_callers_are_recorded(api: ApiHost) -> None:
    runs = f"{api.url}{PREFIX}/runs"
    revoked = api.tokens.create("viewer")
    api.tokens.revoke(revoked.id)
    get(runs)
    get(runs, headers={"Authorization": f"Bearer {revoked.text}"})
    post(f"{api.url}{PREFIX}/auth/login", json={"token": "wrong"})
    get(runs, headers=bearer(api, "admin") | {"Host": "evil.example"})
    found = audit(api, "refusals")
    assert [(one["who"], one["status"], one["path"]) for one in found] == [
        ("-", 401, f"{PREFIX}/runs"),
        ("-", 401, f"{PREFIX}/runs"),
        ("-", 401, f"{PREFIX}/auth/login"),
        ("-", 403, f"{PREFIX}/runs"),
    ]
    assert revoked.id in found[1]["detail"]
    assert "evil.example" in found[3]["detail"]


def test_what_strangers_send_is_not_among_the_writes(api: ApiHost) -> None:
    """Else a stranger pushes out what people did."""
    login = f"{api.url}{PREFIX}/auth/login"
    for content in (b"{", b"{}", b"x" * 5_000):
        assert post(login, content=content, headers={"Content-Type": "application/json"}).status_code >= 400
    post(login, content=b"{}", headers={"Content-Encoding": "gzip"})
    assert audit(api) == []
    assert [one["status"] for one in audit(api, "refusals")] == [400, 422, 413, 415]


def test_what_changes_nothing_is_not_among_the_writes(api: ApiHost) -> None:
    """Else somebody who may only look pushes out what people did."""
    for _ in range(3):
        assert post(f"{api.url}{PREFIX}/auth/logout", headers=bearer(api, "viewer")).status_code == 200
        assert post(f"{api.url}{PREFIX}/auth/logout", headers=bearer(api, "viewer"), content=b"x" * 2_000_000).status_code == 413
        assert post(f"{api.url}{PREFIX}/nothing", headers=bearer(api, "viewer")).status_code == 404
    assert audit(api) == []
    assert {one["status"] for one in audit(api, "refusals")} == {404, 413}
    with browser(api, "viewer") as client:
        assert client.post("/auth/logout", headers=own_page(api)).status_code == 200
    assert [one["path"].rpartition("/")[2] for one in audit(api)] == ["login", "logout"]


def test_the_audit_log_comes_in_pages_and_to_administrators_only(api: ApiHost) -> None:
    with api.host() as host:
        for number in range(5):
            with contextlib.suppress(GswarmError):
                host.stop_run(f"r{number}")
        assert [one["path"].split("/")[4] for one in host.audit("refusals")] == ["r4", "r3", "r2", "r1", "r0"]
    url = f"{api.url}{PREFIX}/audit"
    first = get(f"{url}?kind=refusals&limit=2", headers=bearer(api, "admin")).json()
    second = get(f"{url}?kind=refusals&limit=2&cursor={first['next_cursor']}", headers=bearer(api, "admin")).json()
    third = get(f"{url}?kind=refusals&limit=2&cursor={second['next_cursor']}", headers=bearer(api, "admin")).json()
    assert [[one["number"] for one in page["items"]] for page in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert third["next_cursor"] is None
    for bad in ("x", "-1", "1" * 40, "٣"):
        assert get(url, params={"cursor": bad}, headers=bearer(api, "admin")).status_code == 400
    assert get(f"{url}?kind=other", headers=bearer(api, "admin")).status_code == 422
    assert get(url, headers=bearer(api, "operator")).status_code == 403


def test_a_failure_is_recorded_as_such(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[str]:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(api.tokens), "create", broken)
    post(f"{api.url}{PREFIX}/tokens", json={"role": "viewer"}, headers=bearer(api, "admin"))
    (found,) = audit(api)
    assert (found["outcome"], found["status"], found["detail"]) == ("failed", 500, "")


def test_when_the_audit_log_has_no_room_writes_are_refused_and_reads_go_on(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    run = with_runs(api)[0]
    seq = api.plan.seq
    is_full = True

    def append(lines: object) -> None:
        if is_full:
            raise StorageError("no space left on device")
        original(lines)

    original = api.audit._files.append
    monkeypatch.setattr(api.audit._files, "append", append)
    with api.host() as host:
        assert host.stop_run(run)["state"] == "stopping", "what was done before anybody knew is answered"
        for _ in range(2):
            with pytest.raises(StorageError, match="audit log cannot be written"):
                host.resume_run(run)
        assert host.run(run)["state"] == "stopping"
        assert api.plan.seq == seq + 1
        is_full = False
        assert host.resume_run(run)["id"] == run
        assert [(one["outcome"], one["unrecorded"]) for one in reversed(host.audit())][-2:] == [("unrecorded", 3), ("done", 0)]


def test_the_sdk_has_the_audit_log(api: ApiHost) -> None:
    get(f"{api.url}{PREFIX}/runs")
    with Host(api.url, api.bearer["admin"]) as host:
        assert [one["status"] for one in host.audit("refusals")] == [401]
