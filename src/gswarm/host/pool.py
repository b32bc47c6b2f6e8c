"""The host's HTTPS port for machines: blobs of the pool for clients, and the door where a new machine joins."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gswarm import __version__
from gswarm.datapool.layout import checked_digest
from gswarm.datapool.store import BlobStore
from gswarm.datapool.transfer import KEPT_OPEN_S, open_server, pool_routes, refusal
from gswarm.domain.errors import (
    ConflictError,
    ForbiddenError,
    GswarmError,
    InvalidInputError,
    StorageError,
    TooManyAttemptsError,
    UnauthenticatedError,
)
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.strict_json import load_json
from gswarm.host.access.audit import AuditLog, Outcome, Record
from gswarm.host.access.auth import TokenStore
from gswarm.host.access.door import Door
from gswarm.host.access.rights import PoolRights
from gswarm.host.api.names import AllowedNames
from gswarm.host.api.throttle import FailureThrottle
from gswarm.wire.listener import Listener, open_socket
from gswarm.wire.tls import ROLE_CLIENT, Peer, ServerTls, check_client_name, peer_name_from_ssl, server_ssl_context, show_certificate
from gswarm.wire.token import JoinToken
from gswarm.wire.version import admit_version

JSON_BODY_BYTES_MAX = 64 * 1024
BODY_TIMEOUT_S = 20.0
"""For a JSON body to arrive."""

ROUTES: dict[tuple[str, str], str] = {
    ("GET", "/v1/ca"): "anyone",
    ("POST", "/v1/join"): "anyone with a join token",
    ("POST", "/v1/renew"): "client",
    ("GET", "/v1/blobs/{digest}"): "client whose grants or jobs need the blob",
    ("HEAD", "/v1/blobs/{digest}"): "client whose grants or jobs need the blob; with ?upload=1, one that holds a grant or job",
    ("PUT", "/v1/blobs/{digest}"): "client that holds a grant or job",
    ("POST", "/v1/blobs/missing"): "client that holds a grant or job",
}
"""Who may call what. Only the first two answer callers without a certificate; everything else, also what is not here, is closed to them."""
OPEN = frozenset({("GET", "/v1/ca"), ("POST", "/v1/join")})

_log = logging.getLogger("gswarm.host.pool")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Given:
    """A certificate that somebody gets. ``who``, ``via`` and ``detail`` are for the audit log."""

    document: dict[str, str]
    who: str
    via: str
    detail: str


class PoolServer:
    """Serves the pool to clients of this cluster, and joining to anyone with a token.

    Args:
        tls: ``None`` for plaintext (loopback only); callers are then not asked who they are, and may do everything, but for pages in
            a browser, which Host and Origin give away.
        door: encloses every request of a client.
        rights: what a client may fetch and leave.
        is_alive: whether a client of that name is connected now; its name is not given to another machine then.
        audit: has every certificate that is given, and everybody who is not let in.
        now_s: seconds on the host's clock.
    """

    def __init__(
        self,
        store: BlobStore,
        tokens: TokenStore,
        tls: ServerTls | None,
        door: Door,
        rights: PoolRights,
        is_alive: Callable[[ClientName], bool],
        audit: AuditLog,
        now_s: Callable[[], float],
    ) -> None:
        self._tokens = tokens
        self._context = server_ssl_context(tls, "optional") if tls is not None else None
        self._door = door
        self._rights = rights
        self._is_alive = is_alive
        self._audit = audit
        self._now_s = now_s
        self._throttle = FailureThrottle(now_s)
        self._names = AllowedNames("127.0.0.1")
        # Blobs have limits of their own; only what asks for JSON reads a body at once.
        app = web.Application(client_max_size=8 * 1024 * 1024, middlewares=[self._admit])
        if tls is None:
            app.add_routes(pool_routes(store, lambda request: None))
        else:
            app.add_routes(pool_routes(store, self._authorize, self._brought, owned=self._owned))
        app.add_routes(
            [
                web.get("/v1/ca", self._ca, allow_head=False),
                web.post("/v1/join", self._audited(self._join)),
                web.post("/v1/renew", self._audited(self._renew)),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0, keepalive_timeout=KEPT_OPEN_S, auto_decompress=False)
        self._listener: Listener | None = None
        self.port = 0

    def renew(self, tls: ServerTls) -> None:
        """Shows another certificate from the next connection on."""
        if self._context is not None:
            show_certificate(self._context, tls)

    async def start(self, bind: str, port: int) -> None:
        """Listens on ``bind``; ``port`` 0 is any free one.

        Raises:
            ConflictError: the port is in use; another may be tried.
        """
        server = await open_server(self._runner)
        self._names = AllowedNames(bind, (bind,))
        try:
            self._listener = Listener(open_socket(bind, port), server, self._context, self._is_known)
        except OSError as error:
            raise listen_error("pool", bind, port, error) from error
        self.port = self._listener.port

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
        await self._runner.cleanup()

    def _is_known(self, transport: asyncio.Transport) -> bool:
        """Whether the other end showed a certificate that counts; without one it gets its business done soon, or is cut off."""
        if self._context is None:
            return True
        try:
            self._tokens.check_client(_peer(transport))
        except GswarmError:
            return False
        return True

    @web.middleware
    async def _admit(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Lets in clients of this cluster by the certificate of the connection. What is not open is closed, also what does not exist."""
        try:
            if self._context is None:
                host = request.headers.get("Host", "")
                self._names.check_host(host)
                self._names.check_origin(request.headers.get("Origin"), host, "http")
            if self._context is None or (request.method, request.path) in OPEN:
                return await handler(request)
            with self._door.inside(_client(request)):
                return await handler(request)
        except GswarmError as error:
            if request.writer.output_size and request.transport is not None:
                request.transport.abort()  # in the middle of an answer; only its end can say so
            if isinstance(error, UnauthenticatedError | ForbiddenError):
                await self._audit.refuse(self._record(request, error.http_status, _who(request), error.message))
            return _closing(error)

    async def _authorize(self, request: web.Request) -> str:
        """By what the client holds."""
        name = ClientName(_client(request).name)
        digest = checked_digest(request.match_info.get("digest", "0" * 64))
        # Only a HEAD asks about an upload: that word in the query of a GET changes nothing about what it gets.
        if request.method in ("PUT", "POST") or (request.method == "HEAD" and "upload" in request.query):
            self._rights.check_leave(name, digest)
        else:
            await self._rights.check_fetch(name, digest)
        return name

    async def _owned(self, digests: Set[Digest], caller: str) -> Set[Digest]:
        return await self._rights.owned(ClientName(caller), digests)

    def _brought(self, digest: Digest, caller: str) -> None:
        self._rights.bring(ClientName(caller), digest)

    async def _ca(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._tokens.authority.ca_pem, content_type="application/x-pem-file")

    def _audited(self, give: Callable[[web.Request], Awaitable[_Given]]) -> _Handler:
        """Answers with what ``give`` returns, or why it refuses. The audit log has both; while it cannot be written nothing is given."""

        async def handle(request: web.Request) -> web.Response:
            try:
                await self._audit.require_writable()
                given = await give(request)
            except GswarmError as error:
                await self._audit.refuse(self._record(request, error.http_status, _who(request), error.message))
                return _closing(error)
            await self._audit.write(self._record(request, 200, (given.who, given.via), given.detail))
            return web.json_response(given.document)

        return handle

    def _record(self, request: web.Request, status: int, who: tuple[str, str], detail: str) -> Record:
        address = request.remote or "-"
        return Record(self._now_s(), *who, address, request.method, request.path, Outcome.of(status), status, detail)

    async def _renew(self, request: web.Request) -> _Given:
        """JSON ``{csr}`` in, ``{certificate}`` out, for the client that the connection's certificate names."""
        (csr,) = await _texts(request, "csr")
        certificate = await asyncio.to_thread(self._tokens.renew, _client(request), csr.encode())
        return _Given({"certificate": certificate.decode()}, *_who(request), "renewed its certificate")

    async def _join(self, request: web.Request) -> _Given:
        """JSON ``{token, name, csr, version}`` in, ``{certificate, ca, cluster_id}`` out. A refusal does not use up the token."""
        address = request.remote or "unknown"
        self._throttle.check(address)
        token, name, csr, version = await _texts(request, "token", "name", "csr", version=__version__)
        client = check_client_name(name)
        admit_version(client, version, __version__)
        async with self._throttle.look(address):
            certificate = await asyncio.to_thread(
                self._tokens.enrol,
                token,
                client,
                csr.encode(),
                shown=self._shown(request),
                is_connected=self._is_alive(client),
            )
        authority = self._tokens.authority
        document = {"certificate": certificate.decode(), "ca": authority.ca_pem.decode(), "cluster_id": authority.cluster_id}
        _log.info("%s joined from %s", client, address)
        return _Given(document, f"client:{JoinToken.parse(token).id}", "token", f"{client} joined")

    def _shown(self, request: web.Request) -> Peer | None:
        """Whom the connection's certificate names, while that has not ended: a client may have another one."""
        try:
            peer = _client(request)
            self._door.check(peer)
        except GswarmError:
            return None
        return peer


def _client(request: web.Request) -> Peer:
    """Who the connection's certificate names.

    Raises:
        UnauthenticatedError: it came without one.
        ForbiddenError: it is of no client.
    """
    peer = _peer(request.transport)
    if peer.role != ROLE_CLIENT:
        raise ForbiddenError(f"{peer.name!r} is no client of this cluster", "join with a token of the role client")
    return peer


def _peer(transport: asyncio.Transport | None) -> Peer:
    ssl_object = transport.get_extra_info("ssl_object") if transport is not None else None
    return peer_name_from_ssl(ssl_object.getpeercert() if ssl_object is not None else None)


def _who(request: web.Request) -> tuple[str, str]:
    """``who`` and ``via`` of the connection's certificate, for the audit log."""
    try:
        return f"client:{_client(request).name}", "certificate"
    except GswarmError:
        return "-", "-"


def _closing(error: GswarmError) -> web.Response:
    """The refusal that ends the connection, so that nobody holds one by being refused."""
    refused = refusal(error)
    if isinstance(error, TooManyAttemptsError):
        refused.headers["Retry-After"] = str(int(error.wait_s) + 1)
    refused.force_close()
    return refused


async def _texts(request: web.Request, *names: str, **optional: str) -> list[str]:
    """The named texts of a JSON object, then those that have a default. Little is read: it may be anybody who sends it.

    Raises:
        InvalidInputError: the body is something else.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            data = await request.clone(client_max_size=JSON_BODY_BYTES_MAX).read()
        body: Any = load_json(data)
        found = [body[name] for name in names] + [body.get(name, default) for name, default in optional.items()]
    except web.HTTPRequestEntityTooLarge:
        raise InvalidInputError("the request is too large") from None
    except TimeoutError:
        raise InvalidInputError(f"the request did not arrive within {BODY_TIMEOUT_S:.0f} s") from None
    except (InvalidInputError, KeyError, TypeError, AttributeError):
        raise InvalidInputError(f"the request is no JSON object with {', '.join(names)}") from None
    if not all(isinstance(text, str) for text in found):
        raise InvalidInputError(f"{', '.join((*names, *optional))}: all are texts")
    return found


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
