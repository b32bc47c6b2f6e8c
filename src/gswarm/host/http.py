"""The HTTP port of the API: uvicorn inside the host's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from gswarm.domain.config import HostConfig
from gswarm.domain.errors import StorageError
from gswarm.host.access.auth import Revoked
from gswarm.host.api.app import create_app
from gswarm.host.api.gate import Gate
from gswarm.host.api.sse import EventStreams
from gswarm.host.http_protocol import HEAD_BYTES_MAX, BoundedProtocol
from gswarm.host.pool import listen_error
from gswarm.host.services import HostServices
from gswarm.wire.listener import Listener, open_socket
from gswarm.wire.server import is_loopback
from gswarm.wire.tls import ServerTls

STOP_GRACE_S = 2
"""Open requests may end in this time."""


class _Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn's types are not followed
    bound: socket.socket
    """Where it is to listen."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the daemon's own business."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's own, but that connections have limits from before their handshake on."""
        await super().startup(sockets=[])
        make = partial(self.config.http_protocol_class, self.config, self.server_state, self.lifespan.state)
        listener: Any = Listener(self.bound, make, self.config.ssl, _known)
        self.servers.append(listener)


class HttpServer:
    """HTTP on loopback, HTTPS on any other address.

    Args:
        certificates: folder with the host's ``cert.pem`` and ``key.pem``, used unless the config names others.
    """

    def __init__(self, services: HostServices, config: HostConfig, certificates: Path) -> None:
        self._bind, self._wanted_port = config.bind, config.http_port
        self.port = 0
        self.scheme = "http" if is_loopback(config.bind) else "https"
        secure = self.scheme == "https"
        app = create_app(services)
        self._tokens = services.tokens
        self._streams: EventStreams = app.state.streams
        self._gate: Gate = app.state.gate
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                http=BoundedProtocol,
                h11_max_incomplete_event_size=HEAD_BYTES_MAX,
                server_header=False,
                # Where a request comes from is what the connection says: anybody may write X-Forwarded-For.
                proxy_headers=False,
                timeout_graceful_shutdown=STOP_GRACE_S,
                ssl_certfile=(config.http_tls.cert_file or certificates / "cert.pem") if secure else None,
                ssl_keyfile=(config.http_tls.key_file or certificates / "key.pem") if secure else None,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens.

        Raises:
            ConflictError: the port is in use.
            StorageError: the certificate cannot be read.
        """
        try:
            bound = self._server.bound = open_socket(self._bind, self._wanted_port)
        except OSError as error:
            raise listen_error("HTTP", self._bind, self._wanted_port, error) from error
        self.port = bound.getsockname()[1]
        try:
            self._server.config.load()
        except OSError as error:
            bound.close()
            raise StorageError(
                f"the certificate of the HTTP port cannot be used: {error}", "correct host.http_tls in the config"
            ) from error
        loop = asyncio.get_running_loop()
        self._tokens.watch(lambda revoked: _call_on(loop, self._on_revoked, revoked))
        self._serving = loop.create_task(self._server.serve(), name="http")

    def _on_revoked(self, revoked: Revoked) -> None:
        """What was begun with a token ends with it, at once."""
        if revoked.token_id is not None:
            self._gate.end_of_token(revoked.token_id)
            self._streams.look_again(revoked.token_id)

    def renew(self, _tls: ServerTls) -> None:
        """Shows the certificate that is in the files now, the host's or one of one's own, from the next connection on."""
        config = self._server.config
        if config.ssl is not None:
            config.ssl.load_cert_chain(config.ssl_certfile, config.ssl_keyfile)

    async def stop(self) -> None:
        """Ends the event streams, then lets open requests end."""
        self._streams.close()
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving


def _known(transport: asyncio.Transport) -> asyncio.Event:
    protocol = transport.get_protocol()
    assert isinstance(protocol, BoundedProtocol)
    return protocol.known


def _call_on(loop: asyncio.AbstractEventLoop, call: Callable[[Revoked], None], revoked: Revoked) -> None:
    """From any thread; a loop that is closed has nobody logged in."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, revoked)
