"""The port where other clients and the host read this client's blobs."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from gswarm.client.peer_rights import PeerRights
from gswarm.datapool.layout import checked_digest
from gswarm.datapool.store import BlobStore
from gswarm.datapool.transfer import KEPT_OPEN_S, open_server, pool_routes, refusal
from gswarm.domain.errors import ForbiddenError, GswarmError, StorageError, UnavailableError
from gswarm.wire.listener import Listener, open_socket
from gswarm.wire.server import is_loopback
from gswarm.wire.tls import ROLE_HOST, ClientTls, Peer, peer_name_from_ssl, server_ssl_context, show_certificate

ROUTES: dict[tuple[str, str], str] = {
    ("GET", "/v1/blobs/{digest}"): "client whose grants or jobs need the blob, by the host's word; the host",
    ("HEAD", "/v1/blobs/{digest}"): "client whose grants or jobs need the blob, by the host's word; the host",
}
"""Who may call what. Callers without a certificate of the cluster do not get beyond the handshake."""
ANSWER_MAX_S = 20.0
"""An answer that takes longer is cut, and its reader asks for the rest: so the right to it is looked at again."""

_PORT = re.compile(r":\d{1,5}$")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DataServer:
    """Serves blobs, read-only, to holders of a certificate of this cluster (to this machine only without TLS).

    Args:
        rights: what other clients may fetch; used with TLS only, for without it nobody is known.
        now_s: seconds since the epoch.
    """

    def __init__(self, store: BlobStore, tls: ClientTls | None, rights: PeerRights, now_s: Callable[[], float] = time.time) -> None:
        self._context = server_ssl_context(tls, require_client_cert=True) if tls is not None else None
        self._rights = rights
        self._now_s = now_s
        app = web.Application(middlewares=[self._admit])
        app.add_routes(pool_routes(store, self._authorize, is_read_only=True))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=KEPT_OPEN_S, auto_decompress=False)
        self.url = ""
        """What others use, from ``start`` on."""
        self._listener: Listener | None = None
        self._bind: str | None = None

    def renew(self, tls: ClientTls) -> None:
        """Shows another certificate from the next connection on."""
        if self._context is not None:
            show_certificate(self._context, tls)

    async def start(self, bind: str, port: int, reached_as: str | None = None) -> str:
        """Starts to listen; ``url``. Called again it moves to another address of this machine.

        Args:
            reached_as: the address in that URL, where ``bind`` means all addresses.

        Raises:
            StorageError: the address or port cannot be used; before the first call that worked nothing is served.
        """
        server = await open_server(self._runner)
        if self._listener is None or bind != self._bind:
            try:
                listener = Listener(open_socket(bind, port), server, self._context)
            except OSError as error:
                if self._listener is None:
                    await self._runner.cleanup()
                raise StorageError(
                    f"blobs cannot be served on {bind}:{port}: {error.strerror}", "correct pool_bind and pool_port"
                ) from error
            before, self._listener, self._bind = self._listener, listener, bind
            if before is not None:
                before.close()
                await before.wait_closed()
        scheme = "http" if self._context is None else "https"
        self.url = f"{scheme}://{_in_url(reached_as or bind)}:{self._listener.port}"
        return self.url

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
        await self._runner.cleanup()

    @web.middleware
    async def _admit(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Whatever is asked for, the caller is of this cluster, and its certificate has not ended since it connected."""
        try:
            if self._context is None and not is_loopback(_PORT.sub("", request.headers.get("Host", "")).strip("[]")):
                # A page in a browser may have pointed its own name here.
                raise ForbiddenError("this pool has names of loopback only", "call it as 127.0.0.1")
            if self._context is not None and self._now_s() >= _peer(request).expires_at_s:
                raise UnavailableError("the certificate of this connection has ended", "connect again with a renewed one")
            async with asyncio.timeout(ANSWER_MAX_S):
                return await handler(request)
        except GswarmError as error:
            refused = refusal(error)
        except TimeoutError:
            if request.writer.output_size and request.transport is not None:
                request.transport.abort()
            refused = refusal(UnavailableError(f"this took longer than {ANSWER_MAX_S:.0f} s", "ask for the rest"))
        refused.force_close()
        return refused

    async def _authorize(self, request: web.Request) -> str | None:
        if self._context is None:
            return None
        peer = _peer(request)
        if peer.role != ROLE_HOST:
            await self._rights.check(peer, checked_digest(request.match_info["digest"]))
        return peer.name


def _peer(request: web.Request) -> Peer:
    ssl_object = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    return peer_name_from_ssl(ssl_object.getpeercert() if ssl_object is not None else None)


def address_towards(host: str, port: int) -> str:
    """The address of this machine from which ``host`` is reached. Nothing is sent.

    Raises:
        StorageError: there is no way to it.
    """
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise StorageError(f"there is no way from here to {host}: {error}", "check the host's address") from error


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
