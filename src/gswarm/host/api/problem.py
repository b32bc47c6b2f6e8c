"""Errors as ``application/problem+json`` (RFC 9457), whatever raised them."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gswarm.domain.errors import ConflictError, GswarmError, InvariantError, TooManyAttemptsError

MEDIA_TYPE = "application/problem+json"
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""``Content-Security-Policy`` of answers that a browser shows as a page: what this host serves and nothing else, nothing inline."""

_log = logging.getLogger("gswarm.host.api")


def problem_document(status: int, code: str, detail: str, hint: str = "", possible: tuple[str, ...] = ()) -> dict[str, Any]:
    """``possible`` lists the operations that the state allows now."""
    return {
        "type": f"urn:gswarm:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "hint": hint,
        "possible": list(possible),
    }


def problem(
    status: int,
    code: str,
    detail: str,
    hint: str = "",
    possible: tuple[str, ...] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """The answer with one problem document."""
    body = problem_document(status, code, detail, hint, possible)
    return JSONResponse(body, status_code=status, headers=SECURITY_HEADERS | (headers or {}), media_type=MEDIA_TYPE)


def problem_of(error: GswarmError) -> JSONResponse:
    """The problem document of a typed error; 401 names the scheme to log in with (RFC 6750), 429 how long to wait."""
    possible = error.possible if isinstance(error, ConflictError) else ()
    headers: dict[str, str] | None = None
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": 'Bearer realm="gswarm"'}
    elif isinstance(error, TooManyAttemptsError):
        headers = {"Retry-After": str(math.ceil(error.wait_s))}
    return problem(error.http_status, error.code, error.message, error.hint, tuple(possible), headers)


def nothing_there(method: str, path: str, allowed: str) -> JSONResponse:
    """``allowed``: the methods that are possible at that path, if any are."""
    if not allowed:
        return problem(404, "not_found", f"there is nothing at {path}", "see /docs for the paths")
    detail = f"{method} is not possible at {path}"
    return problem(405, "method_not_allowed", detail, f"possible: {allowed}", headers={"Allow": allowed})


def install_error_handlers(app: FastAPI) -> None:
    """After this every answer of 400 and above is a problem document."""
    app.add_exception_handler(GswarmError, _on_gswarm_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_gswarm_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GswarmError)
    if isinstance(error, InvariantError):
        _log.critical("impossible state while answering %s %s: %s", request.method, request.url.path, error)
    request.state.note.detail = error.message
    return problem_of(error)


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:5]]
    return problem(422, "invalid_input", "; ".join(faults), "see /docs for what the request takes")


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path = request.url.path
    match error.status_code:
        case 404 | 405:
            return nothing_there(request.method, path, (error.headers or {}).get("Allow", ""))
        case 413:
            return problem(413, "too_large", str(error.detail), "send a smaller file")
        case status:
            return problem(status, "invalid_input" if status < 500 else "internal", str(error.detail))


async def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "internal", "the host made a mistake", "its log has the details")
