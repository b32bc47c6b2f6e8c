"""HTTP to the host: login, request ids, errors as types, server-sent events."""

from __future__ import annotations

import json
import random
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from gswarm.domain.errors import (
    ConflictError,
    ForbiddenError,
    GswarmError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
    error_from_code,
)

Json = dict[str, Any]

TIMEOUT_S = 30.0
EVENT_SILENCE_MAX_S = 45.0
"""The host sends a comment every 15 s; a stream that is silent for longer is dead."""
RECONNECT_DELAY_MAX_S = 5.0

_BY_STATUS: dict[int, type[GswarmError]] = {
    400: InvalidInputError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidInputError,
    422: InvalidInputError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def error_of(response: httpx.Response) -> GswarmError:
    """The typed error that a problem document stands for; other bodies (a proxy's) go by their status."""
    try:
        problem = response.json()
        code, detail, hint = str(problem["code"]), str(problem["detail"]), str(problem.get("hint", ""))
        possible = tuple(str(op) for op in problem.get("possible", ()))
    except (ValueError, KeyError, TypeError):
        kind = _BY_STATUS.get(response.status_code, GswarmError)
        return kind(f"{response.request.url} answered {response.status_code} {response.reason_phrase}", "is this a gswarm host?")
    if code == ConflictError.code:
        return ConflictError(detail, hint, possible)
    error = error_from_code(code, detail, hint)
    if type(error) is GswarmError and response.status_code in _BY_STATUS:
        return _BY_STATUS[response.status_code](detail, hint)
    return error


class Transport:
    """One host's REST API. Safe to use from several threads."""

    def __init__(self, url: str, token: str, ca: Path | None = None, http: httpx.BaseTransport | None = None) -> None:
        """
        Args:
            url: ``http://127.0.0.1:8091`` or ``https://...``.
            token: the bearer token.
            ca: PEM file of the CA that signed the host's certificate; the system's CAs by default.
            http: takes the place of the network, for tests.

        Raises:
            InvalidInputError: the URL is none, or the CA file cannot be read.
        """
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise InvalidInputError(f"{url!r} is not the address of a host", "it looks like http://127.0.0.1:8091")
        # Without TLS no CA needs to be loaded, which takes as long as a whole command.
        verify = _tls_context(ca) if self.url.startswith("https://") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_S,
            verify=verify,
            transport=http,
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, *, request_id: str | None = None, **options: Any) -> Json:
        """One request; writes carry a request id, so that a repetition takes effect once.

        Raises:
            GswarmError: the type that the host's problem document names.
            UnavailableError: the host cannot be reached.
        """
        headers = dict(options.pop("headers", {}))
        if method != "GET":
            headers["Idempotency-Key"] = request_id or str(uuid4())
        try:
            response = self._http.request(method, path, headers=headers, **options)
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        if response.is_error:
            raise error_of(response)
        body: Json = response.json()
        return body

    def items(self, path: str, **params: Any) -> list[Json]:
        """Every item of a list."""
        return list(self.each(path, **params))

    def each(self, path: str, limit: int = 500, **params: Any) -> Iterator[Json]:
        """The items of a list, read page by page of ``limit`` as they are taken."""
        cursor: str | None = None
        while True:
            body = self.call("GET", path, params={**params, "limit": limit, **({"cursor": cursor} if cursor else {})})
            yield from body["items"]
            cursor = body["next_cursor"]
            if cursor is None:
                return

    def download(self, path: str) -> Iterator[bytes]:
        """The bytes of a file. Raises like ``call``."""
        try:
            with self._http.stream("GET", path) as response:
                if response.is_error:
                    response.read()
                    raise error_of(response)
                yield from response.iter_bytes(1 << 20)
        except httpx.TransportError as error:
            raise self._unavailable(error) from error

    def stream(self, path: str, params: Json, last_id: int, give_up_after_s: float) -> Iterator[Json]:
        """Server-sent events behind ``last_id``; a lost connection is taken up again where it broke.

        Ends when the host says that there is no more. Raises UnavailableError after ``give_up_after_s`` without the host.
        """
        lost_at_s: float | None = None
        delay_s = 0.1
        timeout = httpx.Timeout(TIMEOUT_S, read=EVENT_SILENCE_MAX_S)
        while True:
            try:
                headers = {"Last-Event-ID": str(last_id)}
                with self._http.stream("GET", path, params=params, headers=headers, timeout=timeout) as response:
                    if response.is_error:
                        response.read()
                        raise error_of(response)
                    lost_at_s, delay_s = None, 0.1
                    for event_id, data in _parse_events(response.iter_lines()):
                        last_id = event_id
                        yield data
                    return
            except (httpx.TransportError, UnavailableError) as error:
                now_s = time.monotonic()
                lost_at_s = lost_at_s if lost_at_s is not None else now_s
                if now_s - lost_at_s >= give_up_after_s:
                    raise self._unavailable(error) from error
                time.sleep(random.uniform(0.5, 1.0) * delay_s)  # noqa: S311 - spreads reconnects, no secret
                delay_s = min(delay_s * 2, RECONNECT_DELAY_MAX_S)

    def _unavailable(self, error: Exception) -> UnavailableError:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return UnavailableError(
                f"the certificate of {self.url} is not trusted",
                "give the host's CA: gswarm login URL --ca FILE, a copy of host/tls/ca.pem in the host's data dir",
            )
        if isinstance(error, httpx.TimeoutException):
            return UnavailableError(f"the host at {self.url} did not answer in time", "look at its log")
        return UnavailableError(
            f"the host at {self.url} cannot be reached", "start it with 'gswarm host start', or see 'gswarm context list'"
        )


def _tls_context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(f"the CA file {ca} cannot be used: {error}", "it is a PEM file") from error


def _parse_events(lines: Iterator[str]) -> Iterator[tuple[int, Json]]:
    event_id, data = 0, ""
    for line in lines:
        if line.startswith("id:"):
            event_id = int(line[3:])
        elif line.startswith("data:"):
            data = line[5:]
        elif not line and data:
            yield event_id, json.loads(data)
            data = ""
