"""The port where other clients and the host read this client's blobs."""

from __future__ import annotations

import socket

from aiohttp import web

from gswarm.datapool.store import BlobStore
from gswarm.datapool.transfer import pool_routes
from gswarm.domain.errors import ForbiddenError, StorageError
from gswarm.wire.tls import ClientTls, peer_name_from_ssl, server_ssl_context


class DataServer:
    """Serves blobs, read-only, to holders of a certificate of this cluster (to this machine only without TLS)."""

    def __init__(self, store: BlobStore, tls: ClientTls | None) -> None:
        self._tls = tls
        app = web.Application()
        app.add_routes(pool_routes(store, self._authorize))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, bind: str, port: int, reached_as: str | None = None) -> str:
        """Starts to listen; the base URL that others use.

        Args:
            reached_as: the address in that URL, where ``bind`` means all addresses.

        Raises:
            StorageError: the address or port cannot be used.
        """
        await self._runner.setup()
        context = server_ssl_context(self._tls, require_client_cert=True) if self._tls is not None else None
        site = web.TCPSite(self._runner, bind, port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise StorageError(f"blobs cannot be served on {bind}:{port}: {error.strerror}", "correct pool_bind and pool_port") from error
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{_in_url(reached_as or bind)}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    def _authorize(self, request: web.Request) -> str | None:
        if request.method not in ("GET", "HEAD"):
            raise ForbiddenError("a client's pool is read-only", "send blobs to the host")
        if self._tls is None:
            return None
        ssl_object = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        return peer_name_from_ssl(ssl_object.getpeercert() if ssl_object is not None else None).name


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
