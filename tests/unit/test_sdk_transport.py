"""Errors of the API as types again, and what a broken or foreign server leads to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gswarm.domain.errors import (
    ERROR_TYPES,
    ConflictError,
    ForbiddenError,
    GswarmError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from gswarm.sdk import Host
from gswarm.sdk.transport import error_of


def host_with(answer: Callable[[httpx.Request], httpx.Response]) -> Host:
    return Host("http://host:1", "t", http=httpx.MockTransport(answer))


def problem(status: int, code: str, **extra: object) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": code, "detail": "it is so", "hint": "do this", **extra}, request=REQUEST)


REQUEST = httpx.Request("GET", "http://host:1/api/v1/runs")


@pytest.mark.parametrize("code", sorted(ERROR_TYPES))
def test_every_error_comes_back_as_its_type(code: str) -> None:
    kind = ERROR_TYPES[code]
    error = error_of(problem(kind.http_status, code))
    assert type(error) is kind or kind is GswarmError
    assert (error.message, error.hint) == ("it is so", "do this")


def test_a_conflict_keeps_what_is_possible() -> None:
    error = error_of(problem(409, "conflict", possible=["resume", "clone"]))
    assert isinstance(error, ConflictError)
    assert error.possible == ("resume", "clone")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, UnauthenticatedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (413, InvalidInputError),
        (502, UnavailableError),
        (500, GswarmError),
    ],
)
def test_answers_that_are_no_problem_documents_go_by_their_status(status: int, kind: type[GswarmError]) -> None:
    assert type(error_of(httpx.Response(status, text="<html>", request=REQUEST))) is kind
    assert type(error_of(problem(status, "of_a_newer_host"))) is kind


def test_writes_carry_a_new_request_id_each_and_the_token() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    with host_with(answer) as host:
        host.stop_run("r1")
        host.stop_run("r1")
        host.stop_run("r1", request_id="mine")
        host.run("a/b")
    ids = [request.headers.get("idempotency-key") for request in seen]
    assert len({*ids[:2]}) == 2
    assert ids[2:] == ["mine", None]
    assert {request.headers["authorization"] for request in seen} == {"Bearer t"}
    assert seen[3].url.raw_path == b"/api/v1/runs/a%2Fb"


def test_lists_are_read_to_the_end() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        cursor = request.url.params.get("cursor")
        following = {None: "1", "1": "2", "2": None}[cursor]
        return httpx.Response(200, json={"items": [{"id": cursor or "0"}], "next_cursor": following})

    assert [run["id"] for run in host_with(answer).runs()] == ["0", "1", "2"]


def test_what_cannot_be_reached_is_unavailable() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]" if request.url.path.endswith("ready") else "refused")

    host = host_with(answer)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        host.health()
    with pytest.raises(UnavailableError, match="not trusted; give the host's CA"):
        host.ready()


def test_bad_addresses_and_cas_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not the address"):
        Host("host:8091", "t")
    with pytest.raises(InvalidInputError, match="CA file"):
        Host("https://host:8091", "t", tmp_path / "none.pem")
