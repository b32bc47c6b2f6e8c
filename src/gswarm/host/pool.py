"""The host's HTTPS port for machines: blobs of the pool for clients, and the door where a new machine joins."""

from __future__ import annotations

import asyncio
import errno
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from gswarm import __version__
from gswarm.datapool.store import BlobStore
from gswarm.datapool.transfer import pool_routes
from gswarm.domain.errors import (
    ConflictError,
    ForbiddenError,
    GswarmError,
    InvalidInputError,
    StorageError,
    UnauthenticatedError,
)
from gswarm.domain.ids import ClientName
from gswarm.host.auth import TokenStore
from gswarm.wire.tls import (
    ROLE_CLIENT,
    CertificateAuthority,
    Peer,
    ServerTls,
    check_client_name,
    peer_name_from_ssl,
    server_ssl_context,
)
from gswarm.wire.version import check_version

JOIN_BODY_BYTES_MAX = 64 * 1024
FAILURES_MAX = 10
FAILURE_WINDOW_S = 60.0
ADDRESSES_MAX = 10_000

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FailureLimit:
    """Counts failed tries by address, so that tokens cannot be guessed."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._failures_s: dict[str, deque[float]] = {}

    def retry_after_s(self, address: str) -> float:
        """0 if the address may try now."""
        failures_s = self._recent(address)
        return failures_s[0] + FAILURE_WINDOW_S - self._now_s() if len(failures_s) >= FAILURES_MAX else 0.0

    def failed(self, address: str) -> None:
        failures_s = self._recent(address)
        failures_s.append(self._now_s())
        self._failures_s.pop(address, None)
        self._failures_s[address] = failures_s
        while len(self._failures_s) > ADDRESSES_MAX:
            del self._failures_s[next(iter(self._failures_s))]

    def _recent(self, address: str) -> deque[float]:
        failures_s = self._failures_s.get(address, deque(maxlen=FAILURES_MAX))
        while failures_s and failures_s[0] <= self._now_s() - FAILURE_WINDOW_S:
            failures_s.popleft()
        return failures_s


class PoolServer:
    """Serves the pool to clients of this cluster, and joining to anyone with a token.

    Args:
        tls: ``None`` for plaintext (loopback only); callers are then not asked who they are.
        is_alive: whether a client of that name is connected now; its name is not given to another machine then.
        now_s: seconds on the host's clock.
    """

    def __init__(
        self,
        store: BlobStore,
        authority: CertificateAuthority,
        tokens: TokenStore,
        tls: ServerTls | None,
        is_alive: Callable[[ClientName], bool],
        now_s: Callable[[], float],
    ) -> None:
        self._authority = authority
        self._tokens = tokens
        self._tls = tls
        self._is_alive = is_alive
        self._limit = FailureLimit(now_s)
        # Blobs have limits of their own; only what asks for JSON reads a body at once.
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.add_routes(pool_routes(store, self._authorize))
        app.add_routes([web.get("/v1/ca", self._ca), web.post("/v1/join", self._join)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        self.port = 0

    async def start(self, bind: str, port: int) -> None:
        """Listens on ``bind``; ``port`` 0 is any free one.

        Raises:
            ConflictError: the port is in use; another may be tried.
        """
        if self._runner.server is None:
            await self._runner.setup()
        context = server_ssl_context(self._tls, "optional") if self._tls is not None else None
        site = web.TCPSite(self._runner, bind, port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            raise listen_error("pool", bind, port, error) from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    def _authorize(self, request: web.Request) -> str | None:
        """Clients and the host of this cluster, by the certificate of the connection."""
        if self._tls is None:
            return None
        peer = _peer(request)
        if peer.role != ROLE_CLIENT:
            raise ForbiddenError(f"{peer.name!r} is no client of this cluster", "join with a token of the role client")
        return peer.name

    async def _ca(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._authority.ca_pem, content_type="application/x-pem-file")

    async def _join(self, request: web.Request) -> web.Response:
        """JSON ``{token, name, csr, version}`` in, ``{certificate, ca, cluster_id}`` out. A refusal does not use up the token."""
        address = request.remote or "unknown"
        wait_s = self._limit.retry_after_s(address)
        if wait_s > 0:
            headers = {"Retry-After": str(int(wait_s) + 1)}
            return _problem(429, "limit", "too many failed tries to join from this address", f"wait {wait_s:.0f} s", headers)
        try:
            token, name, csr = await _join_body(request)
            client = check_client_name(name)
            certificate = await asyncio.to_thread(
                self._tokens.enrol, token, client, csr, is_proven=_proves(request, client), is_connected=self._is_alive(client)
            )
        except UnauthenticatedError as error:
            self._limit.failed(address)
            return _refusal(error)
        except GswarmError as error:
            return _refusal(error)
        return web.json_response(
            {"certificate": certificate.decode(), "ca": self._authority.ca_pem.decode(), "cluster_id": self._authority.cluster_id}
        )


def _peer(request: web.Request) -> Peer:
    """Raises UnauthenticatedError when the connection came without a certificate."""
    ssl_object = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    return peer_name_from_ssl(ssl_object.getpeercert() if ssl_object is not None else None)


def _proves(request: web.Request, client: ClientName) -> bool:
    """Whether the connection's certificate is that client's own: it is being renewed."""
    try:
        return _peer(request) == Peer(client, ROLE_CLIENT)
    except UnauthenticatedError:
        return False


async def _join_body(request: web.Request) -> tuple[str, str, bytes]:
    """Nobody is known here yet, so little is read."""
    try:
        body: Any = json.loads(await request.clone(client_max_size=JOIN_BODY_BYTES_MAX).read())
        token, name, csr, version = body["token"], body["name"], body["csr"], body.get("version", __version__)
    except web.HTTPRequestEntityTooLarge:
        raise InvalidInputError("the request to join is too large") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidInputError("the request to join is no JSON object with token, name and csr") from None
    if not all(isinstance(text, str) for text in (token, name, csr, version)):
        raise InvalidInputError("token, name, csr and version are texts")
    check_version(version, __version__)
    return token, name, csr.encode()


def _refusal(error: GswarmError) -> web.Response:
    return _problem(error.http_status, error.code, error.message, error.hint)


def _problem(status: int, code: str, detail: str, hint: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"type": f"urn:gswarm:problem:{code}", "status": status, "detail": detail, "code": code, "hint": hint}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


def listen_error(what: str, bind: str, port: int, error: OSError) -> GswarmError:
    """Why the port ``what`` (``HTTP``, ``pool``) could not be opened, in words."""
    flag = f"{what.lower()}-port"
    match error.errno:
        case errno.EADDRINUSE:
            return ConflictError(f"the {what} port {port} on {bind} is in use", f"stop what uses it, or choose another with --{flag}")
        case errno.EACCES:
            return ForbiddenError(f"the {what} port {port} needs more rights than this account has", f"choose one above 1023 with --{flag}")
        case errno.EADDRNOTAVAIL:
            return InvalidInputError(f"{bind} is no address of this machine", "choose one with --bind")
        case _:
            return StorageError(f"the host cannot listen on {bind}:{port}: {error.strerror}", "try again")
