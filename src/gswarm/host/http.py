"""The HTTP port of the API: uvicorn inside the host's event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from gswarm.domain.config import HostConfig
from gswarm.domain.errors import StorageError
from gswarm.host.api.app import create_app
from gswarm.host.identity import open_socket
from gswarm.host.pool import listen_error
from gswarm.host.services import HostServices
from gswarm.wire.server import is_loopback

CONNECTIONS_MAX = 2000
STOP_GRACE_S = 2
"""Open requests may end in this time."""


class _Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn's types are not followed
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the daemon's own business."""
        yield


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
        self._streams = app.state.streams
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
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
            listener = open_socket(self._bind, self._wanted_port)
        except OSError as error:
            raise listen_error("HTTP", self._bind, self._wanted_port, error) from error
        self.port = listener.getsockname()[1]
        try:
            self._server.config.load()
        except OSError as error:
            listener.close()
            raise StorageError(
                f"the certificate of the HTTP port cannot be used: {error}", "correct host.http_tls in the config"
            ) from error
        self._serving = asyncio.get_running_loop().create_task(self._server.serve(sockets=[listener]), name="http")

    async def stop(self) -> None:
        """Ends the event streams, then lets open requests end."""
        self._streams.close()
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
