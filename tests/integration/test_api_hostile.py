"""Lists of what people send who mean harm, or whose program is broken, in every place of every route."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from api_host import ApiHost, api_host, with_runs

from gswarm.domain.ids import RunId
from gswarm.domain.messages import StepMetrics
from gswarm.host.api.app import PREFIX, ROUTES, ApiRoute

NAMES = (
    "\x00",
    "r1\x00.json",
    "x" * 4096,
    "\x1b[2J\x1b]0;owned\x07",
    "<script>alert(1)</script>",
    "../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%252e%252e%252f",
    "..\\..\\windows\\system32\\con",
    "{run}",
    "٣",
    "\u202er1",
    "'; DROP TABLE tokens;--",
    "-1",
    "1e999",
    "9" * 400,
    "é" * 300,
)
RAW_NAMES = (b"%00", b"%ff%fe", b"%ed%a0%80", b"%", b"%zz", b"r1;a=b", b"%c0%ae%c0%ae%2f")
BODIES = (
    b"",
    b"null",
    b"[]",
    b'""',
    b"{",
    b"\x00",
    b"\xff\xfe{}",
    b"NaN",
    b'{"role": NaN}',
    b'{"set": {"learning_rate": Infinity}}',
    b'{"set": {"learning_rate": 1e999}}',
    b'{"set": {"seed": ' + b"9" * 5000 + b"}}",
    b'{"set": {"seed": ' + b"9" * 99 + b"}}",
    b'{"set": {"learning_rate": ' + b"9" * 99 + b"}}",
    b'{"warm_start": ' + b"9" * 99 + b"}",
    b'{"warm_start": "' + b"9" * 4301 + b'"}',
    b'{"warm_start": "' + b"9" * 20 + b'"}',
    b'{"warm_start": "\\ud800"}',
    b'{"set": {"\\ud800": 1}}',
    b'{"set": {"run_name": "\\u0000\\u001b[31m<b>"}}',
    b'{"role": "viewer", "role": "admin"}',
    b'{"role": "\\udfff"}',
    b'{"role": "viewer", "ttl_s": 1e308}',
    b'{"role": "viewer", "ttl_s": 1e-320}',
    b'{"role": "client", "client": "' + b"n" * 4096 + b'"}',
    b'{"role": "client", "client": "\\u0000"}',
    b'{"format": "adapter", "checkpoint": ' + b"9" * 99 + b"}",
    b'{"token": "\\ud800"}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"base": {"model_name_or_path": "\\ud800", "dataset": "d"}}',
    b'{"experiment": "<img src=x>", "base": {"model_name_or_path": "m", "dataset": "d"}}',
    b'{"experiment": "' + b"n" * 4096 + b'", "base": {"model_name_or_path": "m", "dataset": "d"}}',
    b'{"base": {"model_name_or_path": "m\\u0000", "dataset": "\\u001b[31m"}}',
    b'{"base": {"model_name_or_path": "m", "dataset": "d", "seed": ' + b"9" * 99 + b"}}",
    b'{"base": {"model_name_or_path": "m", "dataset": "d", "max_steps": 9223372036854775807}}',
    b'{"base": {"model_name_or_path": "m", "dataset": "d"}, "search": {"parameters": {"seed": {"values": ['
    + b",".join(b"%d" % number for number in range(3000))
    + b"]}}}}",
)
YAML = (
    b'base: {model_name_or_path: "\\ud800", dataset: d}',
    b'base: {model_name_or_path: "a\\0b", dataset: d}',
    b"base: {model_name_or_path: m, dataset: d, learning_rate: .nan}",
    b"base: {model_name_or_path: m, dataset: d, learning_rate: .inf}",
    b"base: {model_name_or_path: m, dataset: d, seed: " + b"9" * 5000 + b"}",
    b"a: &a [x]\n" + b"".join(b"%c: &%c [*%c,*%c,*%c]\n" % (98 + n, 98 + n, 97 + n, 97 + n, 97 + n) for n in range(24)),
    b"[" * 50_000,
    b"&a [*a]",
    b"!!python/object/apply:os.system [id]",
    b"base: !!binary /w==",
    b"2024-99-99: x",
    b"? [a, b]\n: c",
)
NUMBERS = ("-1", "0", "1.5", "1e999", "NaN", str(2**63 - 1), str(2**63), "9" * 30, "9" * 5000, "\x00", "true", "")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHost]:
    with api_host(tmp_path_factory.mktemp("hostile")) as running:
        run = with_runs(running)[0]
        running.train(run)
        running.series.append([StepMetrics(RunId(run), 1, 1, 1.0, (("loss", 1.0),))])
        yield running


class Caller:
    """Sends a path as it is: clients that are kinder tidy it up."""

    def __init__(self, api: ApiHost) -> None:
        self._headers = {"Authorization": f"Bearer {api.bearer['admin']}"}
        self._connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=20)

    def __call__(self, method: str, target: str, body: bytes | None = None, content_type: str | None = None) -> None:
        headers = self._headers | ({"Content-Type": content_type} if content_type else {})
        self._connection.request(method, target, body, headers)
        answer = self._connection.getresponse()
        said = f"{method} {target[:300]} {(body or b'')[:300]!r}: {answer.status}"
        kind = answer.headers["Content-Type"] or ""
        assert answer.status < 500, said
        assert answer.headers["X-Content-Type-Options"] == "nosniff", said
        assert not kind.startswith("text/html"), said
        if kind.startswith("text/event-stream"):
            self._connection.close()
            return
        text = answer.read()
        if answer.status >= 400 and method != "HEAD":
            assert kind == "application/problem+json", said
            assert json.loads(text)["status"] == answer.status, said


@pytest.fixture(scope="module")
def call(api: ApiHost) -> Caller:
    return Caller(api)


@pytest.mark.parametrize("route", [route for route in ROUTES if "{" in route.path], ids=lambda route: f"{route.method} {route.path}")
def test_names_in_paths(call: Caller, route: ApiRoute) -> None:
    pieces = [piece for piece in (PREFIX + route.path).split("/") if piece]
    for name in (*(quote(name, safe="").encode() for name in NAMES), *RAW_NAMES):
        filled = [name.decode() if piece.startswith("{") else piece for piece in pieces]
        call(route.method, "/" + "/".join(filled), b"{}" if route.method == "POST" else None, "application/json")


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method != "GET"], ids=lambda route: f"{route.method} {route.path}")
def test_bodies(call: Caller, api: ApiHost, route: ApiRoute) -> None:
    path = PREFIX + route.path.replace("{run}", "r1").replace("{experiment}", "e1").replace("{name}", "left")
    takes_body = route.path.endswith(("experiments", "validate", "clone", "export", "tokens", "login"))
    for body in BODIES if takes_body else BODIES[::9]:
        call(route.method, path, body, "application/json")
    if takes_body:
        for body, kind in itertools.product(
            BODIES[:4], ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "a/b/c", "")
        ):
            call(route.method, path, body, kind)
    if route.path.startswith("/experiments"):
        for body in YAML:
            call(route.method, path, body, "application/yaml")
    assert not api.plan.failed.done()


def test_queries(call: Caller, api: ApiHost) -> None:
    document: dict[str, Any] = api._server._server.config.app.openapi()
    asked = 0
    for path, item in document["paths"].items():
        for parameter in item.get("get", {}).get("parameters", ()):
            if parameter["in"] == "query" and not path.endswith("/events"):
                known = path.replace("{run}", "r1").replace("{experiment}", "e1").replace("{name}", "left")
                for value in (*NUMBERS, *NAMES[:6]):
                    asked += 1
                    call("GET", f"{known}?{parameter['name']}={quote(value, safe='')}")
    assert asked > 200
    for method in ("TRACE", "CONNECT", "PROPFIND", "HEAD", "OPTIONS", "A" * 100):
        call(method, f"{PREFIX}/health" if method != "HEAD" else f"{PREFIX}/runs")


def test_keys_of_requests(api: ApiHost) -> None:
    caller = Caller(api)
    for key, is_key in (("x" * 128, True), ("x" * 129, False), ("a b", False), ("é", False), ("", False), ("\x1b[31m", False)):
        connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=20)
        connection.putrequest("POST", f"{PREFIX}/experiments/e1/stop")
        connection.putheader("Authorization", caller._headers["Authorization"])
        connection.putheader("Idempotency-Key", key.encode("latin-1"))
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status != 400) == is_key, key
        connection.close()


def test_everything_that_came_of_it_can_be_shown(call: Caller, api: ApiHost) -> None:
    """Runs behind the others."""
    for path in ("experiments", "runs", "clients", "queue", "tokens", "audit", "audit?kind=refusals", "experiments/e1/timeline"):
        call("GET", f"{PREFIX}/{path}")
    with api.host() as host:
        assert host.experiments()
        assert [event["id"] for event in itertools.islice(host.events(0), api.plan.seq)] == list(range(1, api.plan.seq + 1))
